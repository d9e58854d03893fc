"""Who asks."""

from dataclasses import dataclass
from typing import Literal

from serving.api.keys import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who showed a key or a token.

    Attributes:
        id: Whose bucket the request is taken from.
        name: For people.
        scopes: What is permitted.
        kind: A key's name is a metric's label; subjects of tokens are without end, so they share one.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    kind: Literal["key", "token"] = "key"

    @property
    def label(self) -> str:
        """For metrics."""
        return self.name if self.kind == "key" else self.kind
