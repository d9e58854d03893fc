"""The search for the candidate generators' parameters, then for their quotas.

The pool is what the ranker gets, so a generator is not judged by its own list. A trial replaces its list in the pool of
all others and counts what the whole then holds of the relevant items: finding what the others find already is worth
nothing. Lists that overlap less make the pool larger, which holds more in any case, so each candidate beyond the
configured size costs what the last ones of the configured pool bring.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.cuts import Cuts, SplitConfig
from components.artifacts.errors import ConfigError
from components.artifacts.feature_manifest import FILE, FeatureManifest
from components.retrieval.config import RetrieversConfig
from components.retrieval.search_spaces import SEARCH_SPACES
from components.tune_retrievers.config import RetrieverTuningConfig
from components.tune_retrievers.judged_cut import JudgedCut, judged_moments, read_judged
from components.tune_retrievers.pool import PoolScore, Ranks
from components.tune_retrievers.quotas import search_quotas
from components.tuning.history import write_history
from components.tuning.search_space import Params, contains
from components.tuning.stores import StudyStore
from components.tuning.study import SECONDS_PER_MINUTE, Clock, Found, Objective, Report, Search, found, search
from components.tuning.workers import work_together

log = logging.getLogger(__name__)

METRIC = "pool recall"
Lists = Mapping[str, Sequence[NDArray[np.int32]]]


@dataclass(frozen=True, slots=True)
class RetrieverTuning:
    """What the search found.

    Attributes:
        retrievers: The configuration that the later steps take.
        searches: Generator to what its search found, kept or not.
        kept: Generators whose found parameters made the pool of the confirming users better.
        configured: The configured pool of the confirming users; None where nothing was tried.
        tuned: Theirs with the result.
    """

    retrievers: RetrieversConfig
    searches: Mapping[str, Found]
    kept: tuple[str, ...]
    configured: PoolScore | None
    tuned: PoolScore | None

    def to_dict(self) -> dict[str, Any]:
        """For `tuning.json`."""
        return {
            "retrievers": self.retrievers.model_dump(),
            "searches": {name: asdict(one) for name, one in self.searches.items()},
            "kept": list(self.kept),
            "configured": self.configured and asdict(self.configured),
            "tuned": self.tuned and asdict(self.tuned),
        }


@dataclass(frozen=True)
class RetrieverTask:
    """What every worker is told.

    Attributes:
        events: Canonical tables.
        features: Manifest of the snapshots, which names what is learnt from.
        home: Where the feature store lies.
        store: Where the studies are kept.
        cuts: The split.
        split: What counts as relevant.
        retrievers: Where the search begins.
        config: Budget and judgement.
        seed: Of the users and the search.
    """

    events: Path
    features: Path
    home: Path
    store: StudyStore
    cuts: Cuts
    split: SplitConfig
    retrievers: RetrieversConfig
    config: RetrieverTuningConfig
    seed: int

    @property
    def quotas(self) -> dict[str, int]:
        """Of the generators that give something."""
        return {name: quota for name, quota in self.retrievers.quotas.items() if quota > 0}

    def read(self) -> tuple[list[JudgedCut], list[JudgedCut]]:
        """The cuts with the users that the search asks, and with those that confirm."""
        FeatureManifest.read(self.features).verify(self.home / "offline")
        config = self.config
        moments = judged_moments(self.cuts, config.folds)
        cuts = read_judged(self.events, self.home, moments, self.split, users=2 * config.users, seed=self.seed)
        halves = [cut.split(min(config.users, (len(cut.queries) + 1) // 2)) for cut in cuts]
        return [first for first, _ in halves], [second for _, second in halves]

    def search(self, name: str) -> Search:
        """The search of one generator, named by what it optimises."""
        facts = [
            (self.features / FILE).read_text(),
            self.cuts.as_of.isoformat(),
            self.split.model_dump(),
            self.retrievers.model_dump(),
            self.config.model_dump(include={"sampler", "folds", "users"}),
            self.seed,
            repr(SEARCH_SPACES[name]),
        ]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        initial = configured_params(self.retrievers, name)
        return Search(
            store=self.store,
            name=f"{name}-{digest}",
            space=SEARCH_SPACES[name],
            initial=initial,
            seed=self.seed,
            sampler=self.config.sampler,
            metric=METRIC,
        )


def tune_retrievers(task: RetrieverTask, out: Path) -> RetrieverTuning:
    """Search; write `tuning.json`, and each generator's history as data and plots.

    What the search found on some users is kept where it makes the pool of other users better, one generator after
    the other: of many trials on few users the best has luck too.

    Raises:
        ConfigError: A configured parameter lies outside the search space, or there are fewer cuts than folds.
    """
    tuning = RetrieverTuning(task.retrievers, {}, (), None, None)
    out.mkdir(parents=True, exist_ok=True)
    if task.config.trials:
        searches = {name: task.search(name) for name in task.quotas}
        work_together(task.config.workers, search_all, task)
        for name, what in searches.items():
            write_history(what, out, prefix=f"{name}-")
        tuning = settle(task, {name: found(what) for name, what in searches.items()})
    (out / "tuning.json").write_text(json.dumps(tuning.to_dict(), indent=1))
    return tuning


def search_all(task: RetrieverTask, clock: Clock = time.monotonic) -> None:
    """Of one worker: every generator in turn, each with its share of the minutes that are left."""
    end = clock() + task.config.minutes * SECONDS_PER_MINUTE
    cuts, _ = task.read()
    pools = [lists_of(task.retrievers, task.quotas, cut) for cut in cuts]
    for done, name in enumerate(task.quotas):
        minutes = (end - clock()) / SECONDS_PER_MINUTE / (len(task.quotas) - done)
        if minutes > 0:
            budget = task.config.model_copy(update={"minutes": minutes})
            search(task.search(name), pool_objective(name, task, cuts, pools), budget, clock=clock)


def pool_objective(name: str, task: RetrieverTask, cuts: Sequence[JudgedCut], pools: Sequence[Lists]) -> Objective:
    """Mean over the cuts of the pool's net recall, with one generator fitted anew and the others as configured."""
    ranks = [Ranks.of(pool, cut.queries, cut.relevant) for pool, cut in zip(pools, cuts, strict=True)]
    price, sizes = Ranks.joined(ranks).price(task.quotas), [one.score(task.quotas).size for one in ranks]

    def objective(params: Params, report: Report) -> float:
        config, scores = with_params(task.retrievers, name, params), list[float]()
        for cut, pool, size in zip(cuts, pools, sizes, strict=True):
            changed = {**pool, name: cut.lists(cut.fit(name, config), k=task.quotas[name])}
            scores.append(Ranks.of(changed, cut.queries, cut.relevant).score(task.quotas).net(price, size))
            if len(scores) < len(cuts):
                report(len(scores) - 1, float(np.mean(scores)))
        return float(np.mean(scores))

    return objective


def settle(task: RetrieverTask, searches: Mapping[str, Found]) -> RetrieverTuning:
    """Keep what helps the confirming users: parameters by generator, then the quotas."""
    asked, confirming = task.read()
    lists = [dict(lists_of(task.retrievers, task.quotas, cut)) for cut in confirming]
    config, kept = task.retrievers, []
    ranks = _ranks(lists, confirming)
    best = configured = ranks.score(task.quotas)
    price, size = ranks.price(task.quotas), configured.size
    for name, one in searches.items():
        changed = with_params(config, name, one.params)
        pools = [{**pool, name: cut.lists(cut.fit(name, changed), k=task.quotas[name])}
                 for pool, cut in zip(lists, confirming, strict=True)]  # fmt: skip
        score = _score(pools, confirming, task.quotas)
        if score.net(price, size) > best.net(price, size):
            config, lists, best = changed, pools, score
            kept.append(name)
    log.info("parameters kept of %s: %s", ", ".join(kept) or "none", _sentence(configured, best))
    quotas = _quotas(task, config, asked, task.config.candidates or size)
    moved = _score([lists_of(config, quotas, cut) for cut in confirming], confirming, quotas)
    log.info("quotas %s: %s", quotas, _sentence(best, moved))
    if (
        moved.net(price, size) > best.net(price, size) or task.config.candidates is not None
    ):  # another size was asked for
        config, best = config.model_copy(update={"quotas": {**dict.fromkeys(config.quotas, 0), **quotas}}), moved
    return RetrieverTuning(config, searches, tuple(kept), configured, best)


def _quotas(task: RetrieverTask, config: RetrieversConfig, cuts: Sequence[JudgedCut], size: float) -> dict[str, int]:
    """The best quotas for a pool of a size."""
    most = max(task.config.max_quota, *task.quotas.values())
    ranks = _ranks([lists_of(config, dict.fromkeys(task.quotas, most), cut) for cut in cuts], cuts)
    start = {name: min(quota, task.config.quota_step) for name, quota in task.quotas.items()}
    return search_quotas(ranks, start=start, size=size, step=task.config.quota_step, most=task.config.max_quota)


def lists_of(config: RetrieversConfig, quotas: Mapping[str, int], cut: JudgedCut) -> Lists:
    """Every generator's lists at a cut, as long as its quota."""
    return {name: cut.lists(cut.fit(name, config), k=quota) for name, quota in quotas.items()}


def _score(lists: Sequence[Lists], cuts: Sequence[JudgedCut], quotas: Mapping[str, int]) -> PoolScore:
    return _ranks(lists, cuts).score(quotas)


def _ranks(lists: Sequence[Lists], cuts: Sequence[JudgedCut]) -> Ranks:
    ranks = [Ranks.of(pool, cut.queries, cut.relevant) for pool, cut in zip(lists, cuts, strict=True)]
    return Ranks.joined(ranks)


def configured_params(config: RetrieversConfig, name: str) -> Params:
    """The searched parameters of a generator as they are configured.

    Raises:
        ConfigError: One lies outside its range.
    """
    section = getattr(config, name)
    params = {parameter: getattr(section, parameter) for parameter in SEARCH_SPACES[name]}
    if not contains(SEARCH_SPACES[name], params):
        raise ConfigError(
            f"retrievers.{name}: {params} is not inside the search space {dict(SEARCH_SPACES[name])}. "
            "Change it, or set retriever_tuning.trials to 0."
        )
    return params


def with_params(config: RetrieversConfig, name: str, params: Mapping[str, Any]) -> RetrieversConfig:
    """The configuration with other parameters of one generator."""
    return config.model_copy(update={name: getattr(config, name).model_copy(update=dict(params))})


def _sentence(before: PoolScore, after: PoolScore) -> str:
    return (
        f"{after.size:.0f} candidates (before: {before.size:.0f}) hold {after.recall:.1%} ({before.recall:.1%}) of what "
        f"was relevant, {after.new_recall:.1%} ({before.new_recall:.1%}) of what was new to the user"
    )
