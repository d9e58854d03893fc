"""Retrievers, ranker, items, golden requests and monitoring reference: one immutable bundle."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.artifacts.bundle import GoldenRequest, write_bundle
from components.artifacts.cuts import Cuts, SplitConfig, seconds
from components.artifacts.manifest import CALIBRATION, REFERENCE, BundleFacts, Manifest
from components.artifacts.tables import TIMESTAMP, summarise
from components.assemble_bundle.config import BundleConfig
from components.point_in_time.cut_models import read_cut
from components.point_in_time.queries import user_rows_at
from components.ranking.blend import Blend
from components.ranking.calibration import ProbabilityMap
from components.ranking.labels import Answers, label_column
from components.ranking.ranker import Ranker
from components.ranking.two_stage import Ranking, TwoStageModel
from components.reranking.config import PolicyConfig
from components.reranking.policy import ListPolicy
from components.retrieval.query import build_query
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, RANKER_FEATURE_NAMES, USER_ID

log = logging.getLogger(__name__)

GOLDEN_K = 10


def assemble_bundle(
    events: Path,
    home: Path,
    models: Path,
    ranker: Path,
    out: Path,
    *,
    as_of: datetime,
    resolved: Mapping[str, Any],
    code: str,
    split: SplitConfig,
    quotas: Mapping[str, int],
    policy: PolicyConfig,
    config: BundleConfig,
    seed: int,
) -> Manifest:
    """Write the bundle that serves from `as_of` on into `out`.

    The reference holds the top items of users at the first test cut, with the features that they were ranked by
    and whether they turned out relevant: what the served traffic will be compared with.

    Args:
        events: Canonical tables.
        home: Where the feature store lies.
        models: The retrievers and item tables of each cut.
        ranker: Folder with `ranker.ubj`, `calibration.json` and `training.json`.
        out: The bundle's folder.
        as_of: The cut whose retrievers serve.
        resolved: The whole pipeline configuration, for the manifest.
        code: Hash of the source, for the manifest.
        split: The cuts and what counts as relevant.
        quotas: Candidates of each retriever.
        policy: Re-ranking and business rules.
        config: Sizes of golden requests and reference.
        seed: Draws the users of both.
    """
    cuts = Cuts(as_of, split)
    items, retrievers = read_cut(models, as_of)
    blend = json.loads((ranker / "training.json").read_text())["blend"]
    model = TwoStageModel(
        items, retrievers, dict(quotas), Ranker.load(ranker / "ranker.ubj"), Blend(**blend) if blend else None
    )
    answers = Answers(events, cuts.horizon, split.label_types)
    everybody = answers.users(as_of)
    drawn = np.random.default_rng(seed).permutation(len(everybody))[: config.reference_users]
    users = everybody.take(pa.array(np.sort(drawn))).to_pylist()
    relevant, rows = answers.relevant(as_of, users), user_rows_at(home, users, cut=as_of)
    facts = _facts(events, as_of, ranker, resolved=resolved, code=code, seed=seed)
    with TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.parquet"
        lists = ListPolicy.of(model, policy)
        pq.write_table(_reference(lists, users, rows, relevant, as_of, config.reference_k), reference)
        golden = _golden(model, users, rows, as_of, config.golden_requests)
        manifest = write_bundle(
            out,
            model=model,
            policy=policy,
            golden=golden,
            facts=facts,
            extra_files={REFERENCE: reference},
            calibration=ProbabilityMap.read(ranker / CALIBRATION),
        )
    log.info(
        "bundle %s: %d items, %d retrievers, %d trees",
        manifest.bundle_id,
        len(items),
        len(retrievers),
        model.ranker.trees,
    )
    return manifest


def _facts(
    events: Path, as_of: datetime, ranker: Path, *, resolved: Mapping[str, Any], code: str, seed: int
) -> BundleFacts:
    before = pc.field(EVENT_TIMESTAMP) < pa.scalar(as_of, TIMESTAMP)
    wanted = [([EVENT_TIMESTAMP], "min", "start"), ([], "count_all", "rows")]
    [known] = summarise(events, "interactions", before, aggregates=wanted).to_pylist()
    return BundleFacts(
        as_of=as_of.isoformat(),
        data_start=known["start"].isoformat(),
        data_end=as_of.isoformat(),
        interactions=known["rows"],
        seed=seed,
        training=json.loads((ranker / "training.json").read_text()),
        config=resolved,
        code=code,
    )


def _golden(
    model: TwoStageModel, users: Sequence[str], rows: Sequence[Mapping[str, Any]], as_of: datetime, size: int
) -> list[GoldenRequest]:
    """Answers to known users, evenly picked, and to one of whom nothing is known."""
    step = max(1, len(users) // max(1, size - 1))
    known = list(zip(users, rows, strict=True))[::step][: size - 1]
    return [_golden_request(model, user_id, row, as_of) for user_id, row in [*known, ("", {})]]


def _golden_request(model: TwoStageModel, user_id: str, row: Mapping[str, Any], as_of: datetime) -> GoldenRequest:
    query = build_query(user_id, row, model.items, now_seconds=seconds(as_of))
    ranking = model.rank(query)
    return GoldenRequest(
        user_id=user_id,
        row=_plain(row),
        now_seconds=query.now_seconds,
        store_id=None,
        k=GOLDEN_K,
        item_ids=[str(item_id) for item_id in model.items.item_ids[ranking.item_nums[:GOLDEN_K]]],
        scores=[float(score) for score in ranking.scores[:GOLDEN_K]],
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as JSON holds it."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def _reference(
    lists: ListPolicy,
    users: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    relevant: Mapping[str, Sequence[str]],
    as_of: datetime,
    k: int,
) -> pa.Table:
    tables = []
    model = lists.model
    for user_id, row in zip(users, rows, strict=True):
        query = build_query(user_id, row, model.items, now_seconds=seconds(as_of))
        top = lists.arrange(query, model.rank(query), k=k).ranking
        labels = label_column(top.item_nums, relevant[user_id], model.items)
        tables.append(_reference_rows(user_id, top, labels, model, as_of))
    return pa.concat_tables(tables)


def _reference_rows(
    user_id: str, top: Ranking, labels: NDArray[np.float32], model: TwoStageModel, as_of: datetime
) -> pa.Table:
    columns = {
        "query_id": pa.array([f"{user_id}@{as_of.date()}"] * len(top), pa.string()),
        USER_ID: pa.array([user_id] * len(top), pa.string()),
        ITEM_ID: pa.array(model.items.item_ids[top.item_nums], pa.string()),
        "position": pa.array(range(1, len(top) + 1), pa.int32()),
        "score": pa.array(top.scores, pa.float32()),
        EVENT_TIMESTAMP: pa.array([as_of] * len(top), TIMESTAMP),
        "label": pa.array(labels, pa.float32()),
    }
    return pa.table(columns | {name: top.matrix[:, place] for place, name in enumerate(RANKER_FEATURE_NAMES)})
