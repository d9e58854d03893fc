"""What the types of events weigh in the data that the serving bundle was trained on, without loading the bundle."""

import logging
import time
from collections.abc import Callable, Mapping

from components.artifacts.errors import NotFoundError, RecsysError
from components.artifacts.manifest import Manifest
from serving.bundle_source import named_folder
from serving.event_types import trained_weights
from serving.settings import Settings

log = logging.getLogger(__name__)


class ServedWeights:
    """Type to weight, as the server knows them; asked anew every `settings.refresh_seconds`.

    Args:
        settings: The server's: they name the bundle.
        clock: Monotonic seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._asks_at, self._weights, self._said = 0.0, dict[str, float](), ""

    def __call__(self) -> Mapping[str, float]:
        """The weights; empty while there is no bundle, those of before where it cannot be read."""
        now = self._clock()
        if now >= self._asks_at:
            self._asks_at = now + self._settings.refresh_seconds
            self._read()
        return self._weights

    def _read(self) -> None:
        try:
            manifest = Manifest.read(named_folder(self._settings))
            self._weights = trained_weights(manifest.facts.config)
            self._say(f"events weigh as in the data of bundle {manifest.bundle_id}")
        except NotFoundError:
            self._say("no bundle yet: events weigh what their types say (serving/README.md says what)")
        except (RecsysError, OSError, TypeError, ValueError) as error:
            self._say(f"weights stay as they were: the bundle cannot be read ({error})")

    def _say(self, line: str) -> None:
        if line != self._said:
            log.info("%s", line)
            self._said = line
