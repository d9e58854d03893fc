"""What of the state folder cannot be read: left out and said, so that one damaged file hides nothing else."""

import logging
from collections.abc import Callable
from typing import TypeVar

from components.artifacts.errors import RecsysError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Unread:
    """Reads what may be damaged.

    Attributes:
        said: Of each part that could not be read, why and what to do; in the order in which they were met.
    """

    def __init__(self) -> None:
        self.said: list[str] = []

    def read(self, what: str, reader: Callable[[], T], otherwise: T) -> T:
        """What `reader` reads, or `otherwise` where that fails.

        Args:
            what: Names it where the refusal does not.
            reader: Reads it.
            otherwise: In its place.
        """
        try:
            return reader()
        except RecsysError as error:
            reason = str(error)
        except (OSError, ValueError, LookupError, TypeError) as error:
            reason = f"{what} cannot be read: {error!r}. Move the damaged file away, or bring it back from a copy."
        if reason not in self.said:
            log.warning("%s", reason)
            self.said.append(reason)
        return otherwise
