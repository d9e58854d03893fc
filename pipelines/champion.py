"""The champion, and that stable answers with it: on this machine servers follow the alias, a cluster is told.

On a cluster the alias is what is wanted and the InferenceService's `storageUri` what is there. Rollouts and the commands here
alone write that field; manifests that are applied leave it out.
"""

from datetime import datetime
from pathlib import Path

from components.artifacts.errors import ConfigError
from components.artifacts.model_registry import tell_model_registry
from components.artifacts.registry import CHAMPION, Version, open_registry
from pipelines.cluster_canary import target_of


def make_champion(home: Path, model: str, version: Version, target: str, *, reason: str, now: datetime) -> None:
    """Give stable a bundle and let the alias point at it, in this order: what is cut off in between is the same command again.

    Args:
        home: State folder.
        model: Registered model.
        version: The bundle.
        target: Address of what stable runs on.
        reason: Why, for the history.
        now: When.

    Raises:
        ConfigError: On a cluster, a rollout is on its way.
        RecsysError: The cluster refused, or the bundle is damaged.
    """
    target_of(target, home, model).install(version.bundle_id)
    open_registry(home).point(model, CHAMPION, version.bundle_id, reason=reason, now=now)
    tell_model_registry(home, model)


def ensure_champion_answers(home: Path, model: str, target: str) -> str | None:
    """Between rollouts, stable is given the champion where it has no bundle yet; what was done, in words.

    Raises:
        ConfigError: It answers with another bundle, so something else than a rollout changed it.
        RecsysError: The cluster refused.
    """
    champion, servers = open_registry(home).aliases(model).get(CHAMPION), target_of(target, home, model)
    installed = servers.installed()
    if champion is None or installed == champion:
        return None
    if installed is None:
        servers.install(champion)
        return f"stable had no bundle and was given the champion, {champion}"
    raise ConfigError(
        f"model {model}: the champion is {champion} and stable was given {installed}, which no rollout did: an overlay that "
        "names a storageUri, a hand, or a training with registry.promote `always`. "
        f"`recsys model promote {champion}` gives stable the champion, "
        "`recsys model promote` of the other makes that the champion; then take the storageUri out of the overlay."
    )
