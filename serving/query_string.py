"""A query string as a question; the server and the door read it alike."""

from collections.abc import Iterable
from typing import Any

from serving.protocol import LIST_FILTERS, InvalidRequestError, RecommendationRequest

PLAIN = ("user_id", "store_id", "request_time", "explain", "k")
EXCLUDE_KNOWN = "exclude_known"


def question_of(pairs: Iterable[tuple[str, str]]) -> RecommendationRequest:
    """Names and values as a request; departments may be given as `department=a&department=b`.

    Raises:
        InvalidRequestError: A parameter is not known, or its value is no good.
    """
    given = list(pairs)
    last = dict(given)
    check_known(last, {*PLAIN, EXCLUDE_KNOWN, *LIST_FILTERS.values()})
    filters: dict[str, Any] = {
        name: [value for key, value in given if key == one] for name, one in LIST_FILTERS.items() if one in last
    }
    if EXCLUDE_KNOWN in last:
        filters[EXCLUDE_KNOWN] = last[EXCLUDE_KNOWN]  # pydantic reads "true"
    values = {name: last[name] for name in PLAIN if name in last}
    return RecommendationRequest.parse({**values, "filters": filters}, where="query")


def check_known(given: Iterable[str], known: set[str]) -> None:
    """Refuse parameters that mean nothing here.

    Raises:
        InvalidRequestError: There is one.
    """
    unknown = sorted(set(given) - known)
    if unknown:
        there = f"there are {', '.join(sorted(known))}" if known else "it takes none"
        raise InvalidRequestError(f"query: no parameter {', '.join(unknown)}; {there}.")
