"""Which bundle a server serves: the one that its settings name, checked before it answers anything."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from components.artifacts.bundle import Bundle, check_golden, load_bundle
from components.artifacts.errors import ConfigError, ContractError, RecsysError
from components.artifacts.registry import Alias, Move, open_registry, require_champion
from components.reranking.config import PolicyConfig
from components.reranking.policy import ListPolicy
from serving.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A bundle that was named and is not served.

    Attributes:
        bundle_id: Which; None where the alias points at nothing.
        reason: Why, in words.
    """

    bundle_id: str | None
    reason: str

    def to_json(self) -> Mapping[str, str | None]:
        """For /readyz."""
        return {"bundle_id": self.bundle_id, "reason": self.reason}


class BundleSource:
    """Follows the alias that the settings name; an id or a folder names one bundle for ever."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._is_alias = settings.bundle in get_args(Alias)
        self._seen = self._moves()

    def moved(self) -> Move | None:
        """The alias's newest move, once; None where it has not moved since it was looked at last.

        Raises:
            ContractError: The aliases cannot be read.
        """
        moves = self._moves()
        if moves == self._seen:
            return None
        self._seen = moves
        return moves[-1] if moves else None

    def open_checked(self) -> Bundle:
        """The bundle, once it has answered its golden requests as in training.

        Raises:
            NotFoundError: There is no such bundle.
            ContractError: It cannot be read, or its golden requests are answered otherwise than in training.
            ConfigError: The rules file is wrong, or exploration would break its rules.
        """
        try:
            bundle = open_bundle(self.settings)
            _check_golden(bundle)
        except RecsysError:
            raise
        except Exception as error:  # a folder that anything may have happened to
            raise ContractError(
                f"bundle {self.settings.bundle}: cannot be read ({error!r}). Copy it anew, or train one."
            ) from error
        log.info("bundle %s answers its %d golden requests right", bundle.manifest.bundle_id, len(bundle.golden))
        return bundle

    def _moves(self) -> Sequence[Move]:
        if not self._is_alias:
            return ()
        history = open_registry(self.settings.home).history(self.settings.model_name)
        return tuple(move for move in history if move.alias == self.settings.bundle)


def open_bundle(settings: Settings) -> Bundle:
    """The bundle that the settings name (an alias, an id, or a folder), compiled, with the policy that they name.

    Raises:
        NotFoundError: There is no such bundle.
        ContractError: It is damaged, or was trained for another version.
        ConfigError: The rules file is wrong, or lists are drawn while a rule fixes places in them.
    """
    bundle = load_bundle(named_folder(settings))
    bundle.model.ranker.compile()
    if settings.rules_file is not None:
        declared = PolicyConfig.read(settings.rules_file, base=bundle.policy.config)
        bundle = replace(bundle, policy=ListPolicy.of(bundle.model, declared))
        log.info("rules and re-ranking of %s", settings.rules_file)
    if settings.exploration.share > 0 and bundle.policy.fixes_places:
        raise ConfigError(
            f"exploration_share {settings.exploration.share}: a drawn order would break the rules' caps and pins. "
            "Set it to 0, or take `cap` and `pin` out of the rules while you explore."
        )
    return bundle


def _check_golden(bundle: Bundle) -> None:
    if not bundle.golden:
        raise ContractError(
            f"bundle {bundle.manifest.bundle_id}: no golden request vouches for what it would answer. Train anew."
        )
    check_golden(bundle)


def named_folder(settings: Settings) -> Path:
    """Folder of the bundle that the settings name.

    Raises:
        NotFoundError: There is no such bundle.
        ContractError: The champion's folder is gone.
    """
    if settings.bundle == "champion":
        return require_champion(settings.home, settings.model_name).folder
    if Path(settings.bundle).is_dir():
        return Path(settings.bundle)
    return open_registry(settings.home).version(settings.model_name, settings.bundle).folder
