"""Who asks."""

from dataclasses import dataclass
from typing import Literal

from serving.api.errors import ForbiddenError
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

    def require(self, scope: Scope) -> None:
        """Raises: ForbiddenError: The scope is not among those that are permitted."""
        if scope not in self.scopes:
            has = ", ".join(self.scopes) or "none"
            raise ForbiddenError(f"{self.kind} {self.name!r}: lacks the scope {scope}; it has {has}.")
