"""A query string as a question; the server and the door read it alike."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from serving.protocol import LIST_FILTERS, InvalidRequestError, RecommendationRequest

PLAIN = ("user_id", "store_id", "request_time", "explain", "k")
EXCLUDE_KNOWN = "exclude_known"
NUMBERS, TRUTHS = ("k",), ("explain", EXCLUDE_KNOWN)
NUMBER = re.compile(r"-?[0-9]{1,9}")


def question_of(pairs: Iterable[tuple[str, str]]) -> RecommendationRequest:
    """Names and values as a request; departments may be given as `department=a&department=b`.

    Raises:
        InvalidRequestError: A parameter is not known, or its value is no good.
    """
    given = list(pairs)
    last = dict(given)
    check_known(last, {*PLAIN, EXCLUDE_KNOWN, *LIST_FILTERS.values()})
    typed = with_types(last)
    filters: dict[str, Any] = {
        name: [value for key, value in given if key == one] for name, one in LIST_FILTERS.items() if one in last
    }
    if EXCLUDE_KNOWN in typed:
        filters[EXCLUDE_KNOWN] = typed[EXCLUDE_KNOWN]
    values = {name: typed[name] for name in PLAIN if name in typed}
    return RecommendationRequest.parse({**values, "filters": filters}, where="query")


def with_types(given: Mapping[str, str]) -> dict[str, str | int | bool]:
    """Numbers and truths of a query string as JSON has them; what is neither stays text, which its field then refuses."""
    return {name: _typed(name, text) for name, text in given.items()}


def check_known(given: Iterable[str], known: set[str]) -> None:
    """Refuse parameters that mean nothing here.

    Raises:
        InvalidRequestError: There is one.
    """
    unknown = sorted(set(given) - known)
    if unknown:
        there = f"there are {', '.join(sorted(known))}" if known else "it takes none"
        raise InvalidRequestError(f"query: no parameter {', '.join(unknown)}; {there}.")


def _typed(name: str, text: str) -> str | int | bool:
    if name in TRUTHS:
        return {"true": True, "false": False}.get(text.lower(), text)
    return int(text) if name in NUMBERS and NUMBER.fullmatch(text) else text
