"""All systems that stand beside the product's own, and which of them can run here."""

from collections.abc import Sequence
from importlib.util import find_spec

from benchmarks.quality.systems import (
    content,
    factorisation,
    fusion,
    irspack_models,
    item_neighbours,
    personal,
    popularity,
    user_neighbours,
)
from benchmarks.quality.systems.system import System
from components.artifacts.errors import ConfigError

FAMILIES = (popularity, personal, item_neighbours, user_neighbours, factorisation, content, irspack_models)
SYSTEMS: tuple[System, ...] = tuple(system for family in FAMILIES for system in family.SYSTEMS)
TWO_STAGE_LABEL = "Two-stage (this product)"
LABELS = {**{system.name: system.label for system in SYSTEMS}, fusion.NAME: fusion.LABEL, "two_stage": TWO_STAGE_LABEL}


def chosen(names: Sequence[str]) -> tuple[System, ...]:
    """The systems of these names, all where none is named; popularity is always there, it completes short lists.

    Raises:
        ConfigError: A name is none of ours, or a package is not installed.
    """
    unknown = sorted(set(names) - {system.name for system in SYSTEMS})
    if unknown:
        raise ConfigError(
            f"--systems: {', '.join(unknown)} is none; there are {', '.join(system.name for system in SYSTEMS)}."
        )
    wanted = {*names, popularity.POPULARITY.name} if names else {system.name for system in SYSTEMS}
    systems = tuple(system for system in SYSTEMS if system.name in wanted)
    missing = sorted({system.needs for system in systems if system.needs and find_spec(system.needs) is None})
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} is not installed, which {' and '.join(s.name for s in systems if s.needs)} need. "
            "Run `make bench-quality`, which installs benchmarks/requirements.lock, or leave them out with --systems."
        )
    return systems
