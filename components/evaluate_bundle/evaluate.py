"""The evaluation of a bundle: every system on the same queries after the training cut, then the gate."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.artifacts.bundle import Bundle, load_bundle
from components.artifacts.cuts import Cuts, SplitConfig, parse_moment
from components.artifacts.errors import ContractError
from components.artifacts.registry import CHAMPION as CHAMPION_ALIAS
from components.artifacts.registry import open_registry
from components.artifacts.tables import TIMESTAMP, summarise
from components.evaluate_bundle.config import CHAMPION, EvaluationConfig, GateConfig
from components.evaluate_bundle.evaluation import CatalogueFacts, Evaluation, Lists, evaluate_lists
from components.evaluate_bundle.gate import Gate, check_metric, decide_gate
from components.evaluate_bundle.rank_systems import popularity, system_lists
from components.evaluate_bundle.report import render_report
from components.point_in_time.queries import queries_at, refreshed_items_at
from components.ranking.labels import Answers, draw
from components.retrieval.items import ItemTable
from feature_repo.schema import EVENT_TIMESTAMP, HISTORY_LENGTH, RETRIEVERS, USER_ID

log = logging.getLogger(__name__)


def evaluate_bundle(
    events: Path,
    home: Path,
    bundle: Path,
    out: Path,
    *,
    as_of: datetime,
    split: SplitConfig,
    model_name: str,
    config: EvaluationConfig,
    gate_config: GateConfig,
) -> tuple[Gate, dict[str, float]]:
    """Write `evaluation.json` and `report.html` into `out`; the gate's verdict and the main figures.

    Of the interactions only the answers of the users who are asked are held.

    Args:
        events: Canonical tables.
        home: Feature store and registry.
        bundle: The bundle's folder.
        out: Folder for the result.
        as_of: The first test cut.
        split: The cuts and what counts as relevant.
        model_name: Registered model whose champion is compared with.
        config: Cut-offs, intervals.
        gate_config: The conditions.

    Raises:
        ConfigError: The gate's metric is none that is measured.
        ContractError: The bundle is damaged, or nobody has a relevant item after the test cuts.
    """
    check_metric(gate_config, config)
    ours = load_bundle(bundle)
    champion, remark = _champion(home, model_name, ours, as_of)
    cuts = Cuts(as_of, split)
    lists = _collect(Answers(events, cuts.horizon, split.label_types), home, ours, champion, cuts, config)
    _require_queries(lists, events, cuts, split)
    evaluation = evaluate_lists(
        lists,
        _facts(ours, events, as_of),
        config,
        RETRIEVERS,
        champion=remark,
    )
    gate = decide_gate(evaluation, gate_config)
    log.info("%s: %s", "passed" if gate.passed else "refused", gate.sentence)
    out.mkdir(parents=True, exist_ok=True)
    content = {"bundle_id": ours.manifest.bundle_id, "evaluation": evaluation.to_dict(), "gate": gate.to_dict()}
    (out / "evaluation.json").write_text(json.dumps(_without_nan(content), indent=1, allow_nan=False))
    (out / "report.html").write_text(render_report(ours.manifest, evaluation, gate), encoding="utf-8")
    return gate, _figures(evaluation)


@dataclass
class _Codes:
    """Numbers of items beyond the bundle's own: of the champion, or in no catalogue."""

    items: ItemTable
    others: dict[str, int] = field(default_factory=dict)

    def of(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        own, base = self.items.num_of, len(self.items)
        codes = [
            own[item_id] if item_id in own else base + self.others.setdefault(item_id, len(self.others))
            for item_id in item_ids
        ]
        return np.array(codes, np.int64)


def _champion(home: Path, model_name: str, ours: Bundle, as_of: datetime) -> tuple[Bundle | None, str]:
    """The champion, where it can be compared with, and what became of it in words.

    One that cannot be loaded is no reason to refuse its successor: nothing could serve it either. One that was
    trained on a later date has seen the answers.
    """
    registry = open_registry(home)
    bundle_id, folder = registry.aliases(model_name).get(CHAMPION_ALIAS), registry.champion(model_name)
    if bundle_id is None or folder is None:
        return None, "no champion yet"
    if bundle_id == ours.manifest.bundle_id:
        return None, f"{bundle_id}, which is this bundle"
    try:
        champion = load_bundle(folder)
    except ContractError as error:
        return None, _not_compared(bundle_id, str(error))
    if parse_moment(champion.manifest.facts.as_of) > as_of:
        return None, _not_compared(bundle_id, f"trained as of {champion.manifest.facts.as_of[:10]}, it saw the answers")
    return champion, f"{bundle_id}, asked the same"


def _not_compared(bundle_id: str, reason: str) -> str:
    log.warning("the champion %s is not compared: %s", bundle_id, reason)
    return f"{bundle_id}, not compared: {reason}"


def _require_queries(lists: Lists, events: Path, cuts: Cuts, split: SplitConfig) -> None:
    if not lists.query_ids:
        raise ContractError(
            f"{events}: nobody has an interaction of type {' or '.join(split.label_types)} in "
            f"[{cuts.test[0].date()}, {cuts.end.date()}), so there is nothing to evaluate on. "
            "Choose an earlier as_of, or bring newer events."
        )


def _collect(
    answers: Answers,
    home: Path,
    ours: Bundle,
    champion: Bundle | None,
    cuts: Cuts,
    config: EvaluationConfig,
) -> Lists:
    items, depth = ours.model.items, config.list_length + HISTORY_LENGTH
    served = {cut: ours.with_items(refreshed_items_at(home, items, cut=cut)) for cut in cuts.test}
    codes, lists = _Codes(items), Lists()
    lists.cold_items = np.flatnonzero(np.isnan(items.feature("item_age_days"))).astype(np.int64)
    for cut in cuts.test:
        rng = np.random.default_rng([config.seed, int(cut.timestamp())])
        users = draw(answers.users(cut), config.max_users_per_cut, rng)
        relevant, popular = answers.relevant(cut, users), popularity(served[cut].model)
        for query in queries_at(home, users, items, cut=cut) if users else []:
            ranking = served[cut].model.rank(query)
            listed = None if ours.policy.is_empty else served[cut].policy.arrange(query, ranking, k=depth).ranking
            judged = system_lists(ranking, listed, popular, k=depth)
            wanted = codes.of(relevant[query.user_id])
            lists.query_ids.append(f"{query.user_id}@{cut.date()}")
            lists.users.append(query.user_id)
            lists.cuts.append(str(cut.date()))
            lists.history_sizes.append(len(query.history))
            lists.relevant.append(wanted)
            lists.known.append(query.history.item_nums.astype(np.int64))
            lists.known_weights.append(query.decayed)
            lists.pools.append(judged.pool.astype(np.int64))
            said = ours.probabilities(ranking.scores)
            lists.probabilities.extend([] if said is None else [said])
            lists.labels.append(np.isin(ranking.item_nums, wanted))
            for name, ranked in judged.lists.items():
                lists.systems.setdefault(name, []).append(ranked.astype(np.int64))
        if champion is not None:
            lists.systems.setdefault(CHAMPION, []).extend(_champion_lists(champion, home, users, cut, codes, depth))
        log.info("test cut %s: %s queries ranked by %d systems", cut.date(), f"{len(users):,}", len(lists.systems))
    return lists


def _champion_lists(
    champion: Bundle, home: Path, users: Sequence[str], cut: datetime, codes: _Codes, depth: int
) -> list[NDArray[np.int64]]:
    """The champion's answers to the same users, from what is known at the cut, by its own items.

    Its item features are those of the cut too, as its server has them.
    """
    served = champion.with_items(refreshed_items_at(home, champion.model.items, cut=cut))
    items = served.model.items
    lists = []
    for query in queries_at(home, users, items, cut=cut) if users else []:
        ranked = served.policy.arrange(query, served.model.rank(query), k=depth).ranking.item_nums
        lists.append(codes.of([str(item_id) for item_id in items.item_ids[ranked]]))
    return lists


def _facts(ours: Bundle, events: Path, as_of: datetime) -> CatalogueFacts:
    time = pc.field(EVENT_TIMESTAMP)
    month = (time >= pa.scalar(as_of - timedelta(days=30), TIMESTAMP)) & (time < pa.scalar(as_of, TIMESTAMP))
    users = summarise(events, "interactions", month, keys=[USER_ID]).num_rows
    share = ours.model.items.feature("item_users_30d").astype(float) / max(users, 1)
    return CatalogueFacts(ours.model.items.category_codes, share)


def _figures(evaluation: Evaluation) -> dict[str, float]:
    """For KFP's metrics page."""
    figures = {
        f"{name}_{metric}": evaluation.systems[name][metric].mean
        for name in evaluation.systems
        for metric in ("ndcg_at_10", "recall_at_20")
        if metric in evaluation.systems[name]
    }
    return {**figures, "pool_recall": evaluation.pool["recall"], "queries": float(evaluation.queries)}


def _without_nan(value: object) -> object:
    """NaN as None: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and value != value else value
