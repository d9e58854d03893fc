"""Numbers of a shop's own about its users and items, which it declares: no code is changed for them.

    RECSYS_OWN_FEATURES="items.margin_usd=usd items.stars=1 users.points=count"

Each is a column of the canonical table of that name, which a data set's configuration maps, and a feature of the ranker:
`item_margin_usd`, `user_points`. Every process of a platform is told the same; a server that was told otherwise refuses
the bundle, for its matrix would have other columns.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "RECSYS_OWN_FEATURES"
DECLARED = re.compile(r"(?P<table>users|items)\.(?P<column>[a-z][a-z0-9_]*)(=(?P<unit>[^\s=]+))?")


class OwnFeaturesError(ValueError):
    """The declaration cannot be read."""


@dataclass(frozen=True, slots=True)
class OwnColumn:
    """One declared number.

    Attributes:
        table: `users` or `items`.
        column: Of the canonical table.
        unit: As it was declared; "1" where it was not.
    """

    table: str
    column: str
    unit: str

    @property
    def feature(self) -> str:
        """Its name among the features."""
        return f"{self.table.removesuffix('s')}_{self.column}"


def own_columns(environment: Mapping[str, str] = os.environ) -> tuple[OwnColumn, ...]:
    """What is declared, in its order; empty where nothing is.

    Raises:
        OwnFeaturesError: A declaration is not of the form, or stands there twice.
    """
    found = []
    for word in environment.get(VARIABLE, "").split():
        match = DECLARED.fullmatch(word)
        if match is None:
            raise OwnFeaturesError(
                f"{VARIABLE}: {word!r}, expected TABLE.COLUMN=UNIT with table users or items and a column in lower case, "
                "e.g. items.margin_usd=usd users.points=count."
            )
        found.append(OwnColumn(match["table"], match["column"], match["unit"] or "1"))
    twice = {one.feature for one in found if [other.feature for other in found].count(one.feature) > 1}
    if twice:
        raise OwnFeaturesError(f"{VARIABLE}: {', '.join(sorted(twice))} is declared twice. Leave one out.")
    return tuple(found)


OWN_COLUMNS = own_columns()


def own_of(table: str) -> tuple[OwnColumn, ...]:
    """What this process was told of a table."""
    return tuple(one for one in OWN_COLUMNS if one.table == table)
