"""Where a canary runs. Every act makes the world so and may be repeated."""

from typing import Protocol


class Target(Protocol):
    """Servers of the two bundles."""

    def deploy(self, bundle: str, uri: str, *, share: float) -> str:
        """The canary runs with a bundle and has room for its share of the users; its own address.

        Args:
            bundle: Its id.
            uri: Where it lies.
            share: Of the users, in [0, 1).
        """

    def promote(self, bundle: str, uri: str) -> None:
        """The stable server has the canary's bundle, and the canary is no more."""

    def withdraw(self, bundle: str, uri: str) -> None:
        """The canary is no more, and the stable server has its own bundle, which is named here."""
