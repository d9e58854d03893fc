"""A rollout on this machine: the candidate as a second server process, the door divides the users.

Stable is the server that follows the alias `champion`. The door reads the users' shares from the experiments' file before
each request, so a share is changed by replacing a file, and no process is started anew.
"""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from components.artifacts.errors import ConfigError
from components.artifacts.model_registry import tell_model_registry
from components.artifacts.registry import CHAMPION, open_registry
from components.deploy_canary.rollout import Phase, Rollout
from pipelines.readiness import readyz
from pipelines.server_process import POLL_SECONDS, ServerFailedError, free_ports, wait_until_ready
from pipelines.stack import CANARY, Part, running, start_part, stop_part, variables_of
from serving.api.assignment import Experiment, put_experiment
from serving.settings import settings_from_environment

ASK_SECONDS = 5.0
SWAP_SECONDS = 120.0
"""Longest that the stable server may take to answer with a new champion."""


class LocalTarget:
    """Server processes of one state folder. The candidate's has the rules file that stable was started with.

    Args:
        home: The folder.
        model: Registered model.
        settings: Fields of `serving.settings.Settings` that the candidate's server is started with beside its own.
    """

    def __init__(self, home: Path, model: str, settings: Mapping[str, str | int] | None = None) -> None:
        self._home, self._model, self._settings = home, model, settings or {}

    def apply(self, rollout: Rollout) -> None:
        """As `Target.apply`.

        Raises:
            ConfigError: Something else than the rollout moved the champion.
            ServerFailedError: A server does not answer with its bundle.
        """
        if rollout.phase is Phase.PROMOTED:
            self._promote(rollout)
        if rollout.is_over:
            divide_users(self._home, rollout, url=None)
            self._stop()
            return
        self._check_champion(rollout)
        divide_users(self._home, rollout, url=self._candidate(rollout).url)

    def installed(self) -> str | None:
        """The champion: the servers follow its alias."""
        return open_registry(self._home).aliases(self._model).get(CHAMPION)

    def install(self, bundle_id: str) -> None:
        """The alias alone says what they answer with."""

    def _candidate(self, rollout: Rollout) -> Part:
        """The canary's process, answering with the candidate; started where it is not."""
        for part in running(self._home, (CANARY,)):
            if self._comes_up(part, rollout):
                return part
            stop_part(part)
        (port,) = free_ports(1)
        variables = {
            **variables_of("RECSYS_", {**self._rules(), **self._settings}),
            "RECSYS_BUNDLE": rollout.candidate,
            "RECSYS_MODEL_NAME": self._model,
            "RECSYS_VARIANT": CANARY,
            "RECSYS_HTTP_PORT": str(port),
            "RECSYS_GRPC_PORT": "0",
        }
        scheme = settings_from_environment(self._settings).scheme
        return start_part(self._home, CANARY, "serving", variables, f"{scheme}://127.0.0.1:{port}")

    def _rules(self) -> dict[str, str]:
        """The setting by which the candidate has stable's rules file, where that has one."""
        files = [stable.rules for stable in running(self._home, ("server",)) if stable.rules]
        return {"rules_file": files[0]} if files else {}

    def _comes_up(self, part: Part, rollout: Rollout) -> bool:
        """Whether a process that is there answers with the candidate, soon; one that is dying does not."""
        if _bundle_of(part.url) not in {rollout.candidate, None}:  # None: it has not come up yet
            return False
        try:
            wait_until_ready(CANARY, part.url, Path(part.log), partial(_exit_code, part))
        except ServerFailedError:
            return False
        return True

    def _promote(self, rollout: Rollout) -> None:
        """Stable answers with the candidate before any user is moved to it."""
        point_champion(self._home, self._model, rollout)
        wait_for_bundle(self._home, rollout.candidate)

    def _stop(self) -> None:
        for part in running(self._home, (CANARY,)):
            stop_part(part)

    def _check_champion(self, rollout: Rollout) -> None:
        champion = open_registry(self._home).aliases(self._model).get(CHAMPION)
        if champion != rollout.stable:
            raise ConfigError(
                f"rollout {rollout.name}: compares with bundle {rollout.stable}, and the champion is {champion} by now. "
                f"`recsys rollout abort {rollout.name}`, then start anew."
            )


def wait_for_bundle(home: Path, bundle_id: str) -> None:
    """Until the stable server, where one runs, answers with the bundle that its alias was moved to.

    Raises:
        ServerFailedError: It does not in SWAP_SECONDS.
    """
    for server in running(home, ("server",)):
        end = time.monotonic() + SWAP_SECONDS
        while _bundle_of(server.url) != bundle_id:
            if time.monotonic() > end:
                raise ServerFailedError(
                    f"the server does not answer with {bundle_id} after {SWAP_SECONDS:.0f} s: `recsys status` says why. "
                    "Users stay where they are; `recsys rollout status` of the rollout tries again."
                )
            time.sleep(POLL_SECONDS)


def divide_users(home: Path, rollout: Rollout, *, url: str | None) -> None:
    """Tell the door whom the candidate answers, and where it is; nobody where it has no address."""
    experiment = Experiment(
        name=rollout.name,
        canary_share=rollout.share if url else 0.0,
        started=rollout.records[0].cause.at,
        since=rollout.since,
        url=url,
        targeting=rollout.judging.get("targeting", {}),
        is_active=url is not None,
    )
    put_experiment(home, experiment)


def point_champion(home: Path, model: str, rollout: Rollout) -> None:
    """The candidate of a promoted rollout is the champion; harmless where it is already."""
    registry = open_registry(home)
    if registry.aliases(model).get(CHAMPION) != rollout.candidate:
        cause = rollout.records[-1].cause
        reason = f"rollout {rollout.name}: {cause.reason}"
        registry.point(model, CHAMPION, rollout.candidate, reason=reason, now=cause.at)
        tell_model_registry(home, model)


def _exit_code(part: Part) -> int | None:
    """-1 of a process that is gone; it was not ours to wait for."""
    return None if part.process() else -1


def _bundle_of(url: str) -> str | None:
    """Which bundle a server answers with; None where it does not say."""
    try:
        state: dict[str, Any] = readyz(url, seconds=ASK_SECONDS).json()
    except (httpx.HTTPError, ValueError):
        return None
    return state.get("bundle_id")
