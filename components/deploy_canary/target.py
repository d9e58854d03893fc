"""What a rollout runs on, behind one interface."""

from typing import Protocol

from components.deploy_canary.rollout import Rollout


class Target(Protocol):
    """Servers of a kind."""

    def apply(self, rollout: Rollout) -> None:
        """Make the servers and the users' shares what the rollout wants.

        Repeating it changes nothing, and what an earlier call left half done is completed. Users are moved to a
        candidate only when it answers, and away from it before it goes.

        Raises:
            RecsysError: It cannot be; the message says what to do.
        """
