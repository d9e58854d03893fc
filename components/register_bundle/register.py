"""Publishing a bundle that passed the gate, and naming it."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from components.artifacts.model_registry import tell_model_registry
from components.artifacts.registry import CHALLENGER, CHAMPION, Version, open_registry
from components.register_bundle.config import RegistryConfig

log = logging.getLogger(__name__)


def register_bundle(
    home: Path, bundle: Path, evaluation: Path, out: Path, *, config: RegistryConfig, now: datetime | None = None
) -> Version:
    """Publish a bundle with its evaluation; it becomes champion or challenger as configured.

    Args:
        home: State folder with the registry.
        bundle: The bundle's folder.
        evaluation: Folder with evaluation.json and report.html.
        out: Folder for `registered.json`.
        config: The model and when a bundle is promoted.
        now: Time of the move.
    """
    now = now or datetime.now(UTC)
    registry = open_registry(home)
    version = registry.publish(config.model_name, bundle, evaluation, now=now)
    is_first = registry.champion(config.model_name) is None
    if config.promote == "always" or (config.promote == "if_first" and is_first):
        reason = "first bundle that passed the gate" if is_first else "passed the gate; registry.promote is `always`"
        version = registry.point(config.model_name, CHAMPION, version.bundle_id, reason=reason, now=now)
    elif CHAMPION not in version.aliases:
        version = registry.point(config.model_name, CHALLENGER, version.bundle_id, reason="passed the gate", now=now)
    tell_model_registry(home, config.model_name)
    log.info("%s registered as %s of %s", version.bundle_id, ", ".join(version.aliases), config.model_name)
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "model": config.model_name,
        "bundle_id": version.bundle_id,
        "aliases": registry.aliases(config.model_name),
    }
    (out / "registered.json").write_text(json.dumps(content, indent=1))
    return version
