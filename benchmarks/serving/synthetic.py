"""A shop of any size as a state folder that a server can be started on: fitted, trained and written by the product's code.

Its shape follows the Complete Journey: 300 distinct items a user, 600 interactions in a year, a few items of most users
and many of none. Nothing is learnt of it but its cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xgboost as xgb
from numpy.typing import NDArray

from components.artifacts.bundle import GoldenRequest, write_bundle
from components.artifacts.cuts import seconds
from components.artifacts.manifest import BundleFacts
from components.artifacts.tables import ITEMS, TIMESTAMP
from components.ranking.feature_matrix import feature_matrix
from components.ranking.ranker import Ranker
from components.ranking.two_stage import TwoStageModel
from components.reranking.config import PolicyConfig
from components.retrieval.config import RetrieversConfig
from components.retrieval.fit import fit_retrievers
from components.retrieval.items import ItemTable
from components.retrieval.query import Query, build_query
from feature_repo.online import OnlineRows
from feature_repo.online_values import OnlineRow
from feature_repo.schema import (
    DECAY_DAYS,
    HISTORY_LENGTH,
    ITEM_NUMERIC,
    RANKER_FEATURE_NAMES,
    SECONDS_PER_DAY,
    USER_CATEGORY_AFFINITY,
    USER_HISTORY,
    USER_NUMERIC,
    USER_PROFILE,
    USER_STATS,
)
from feature_repo.store import apply

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365
ITEMS_PER_USER, REPEATS_PER_USER = 300, 300
TEXTS, DEPARTMENTS, CATEGORIES, SUBCATEGORIES, BRANDS, STORES = 30_000, 20, 300, 3000, 500, 400
ASKED_USERS, TRAINING_QUERIES, GOLDEN_REQUESTS = 400, 120, 4
LOGISTIC_ROUNDS, REFINING_ROUNDS, DEPTH = 220, 80, 6
"""300 trees in the two stages that the product trains."""
QUOTA_SHARES = {
    "repeat_purchase": 0.36,
    "user_neighbours": 0.36,
    "covisitation": 0.12,
    "rp3beta": 0.12,
    "pure_svd": 0.12,
    "popular_in_context": 0.1,
    "content": 0.04,
}
"""Of the candidates wanted, in the proportions of the default quotas; more than 1 together, for the lists overlap."""


@dataclass(frozen=True, slots=True)
class Shop:
    """Where the parts lie.

    Attributes:
        home: State folder; its online store has the rows of `users`.
        bundles: Candidates wanted to the folder of a bundle that gives about as many.
        users: Who may ask.
    """

    home: Path
    bundles: Mapping[int, Path]
    users: tuple[str, ...]


def build_shop(folder: Path, *, items: int, candidates: tuple[int, ...], seed: int = 0) -> Shop:
    """A shop of so many items, kept in `folder`: what is there already is taken as it is."""
    shop = Shop(
        folder,
        {wanted: folder / f"bundle-{wanted}" for wanted in candidates},
        tuple(f"u{user}" for user in range(ASKED_USERS)),
    )
    if all((bundle / "manifest.json").exists() for bundle in shop.bundles.values()):
        return shop
    rng = np.random.default_rng(seed)
    log = _Log.drawn(items, min(max(items // 40, 2500), 25_000), rng)
    table = _items(items, log, rng)
    config = RetrieversConfig()
    retrievers = fit_retrievers(log.table(), table, cut=AS_OF, config=config)
    rows = {user: log.row(number, table, rng) for number, user in enumerate(shop.users)}
    _put_online(folder, rows)
    queries = [_query(user, row, table) for user, row in rows.items()]
    model = TwoStageModel(table, retrievers, dict(config.quotas), _placeholder())
    model = replace(model, ranker=Ranker(_trained(model, queries[:TRAINING_QUERIES], rng)))
    for wanted, bundle in shop.bundles.items():
        quotas = {name: max(1, round(share * wanted)) for name, share in QUOTA_SHARES.items()}
        _write(bundle, replace(model, quotas=quotas), rows)
    return shop


@dataclass(frozen=True, slots=True)
class _Log:
    """Interactions, aligned arrays, by user."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    days_ago: NDArray[np.float64]

    @classmethod
    def drawn(cls, items: int, users: int, rng: np.random.Generator) -> "_Log":
        chances = 1 / (np.arange(items) + 20) ** 0.8
        popular = rng.permutation(items)
        own = popular[np.searchsorted(np.cumsum(chances / chances.sum()), rng.random((users, ITEMS_PER_USER)))]
        repeated = np.take_along_axis(own, rng.integers(0, ITEMS_PER_USER, (users, REPEATS_PER_USER)), axis=1)
        taken = np.concatenate([own, repeated], axis=1)
        return cls(
            np.repeat(np.arange(users), taken.shape[1]), taken.ravel(), rng.uniform(0.01, DAYS, taken.size).round(4)
        )

    def table(self) -> pa.Table:
        """What the retrievers are fitted on."""
        moments = np.datetime64(AS_OF.replace(tzinfo=None), "us") - (self.days_ago * 86_400e6).astype("m8[us]")
        return pa.table(
            {
                "user_id": _names("u", self.users),
                "item_id": _names("i", self.items),
                "event_timestamp": pa.array(moments).cast(TIMESTAMP),
                "weight": np.ones(len(self.users), np.float32),
                "store_id": _names("s", self.users % STORES),
            }
        )

    def row(self, user: int, table: ItemTable, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
        """The user's online rows, by view."""
        mine = self.users == user
        items, places = np.unique(self.items[mine], return_inverse=True)
        at = seconds(AS_OF) - (self.days_ago[mine] * SECONDS_PER_DAY).astype(np.int64)
        first, last = np.full(len(items), seconds(AS_OF)), np.zeros(len(items), np.int64)
        np.minimum.at(first, places, at)
        np.maximum.at(last, places, at)
        decayed = np.bincount(places, np.exp((at - last[places]) / SECONDS_PER_DAY / DECAY_DAYS))
        newest = np.argsort(-last, kind="stable")[:HISTORY_LENGTH]
        ids = [f"i{item}" for item in items[newest].tolist()]
        codes = table.category_codes[[table.num_of[item_id] for item_id in ids]]
        categories, counts = np.unique(codes, return_counts=True)
        numbers = {spec.name: float(rng.lognormal(1, 1)) for spec in USER_NUMERIC}
        return {
            USER_PROFILE.name: {spec.name: numbers.get(spec.name, "segment") for spec in USER_PROFILE.features},
            USER_STATS.name: {spec.name: numbers.get(spec.name, f"s{user % STORES}") for spec in USER_STATS.features},
            USER_HISTORY.name: {
                "user_history_item_ids": ids,
                "user_history_counts": np.bincount(places).astype(float)[newest].tolist(),
                "user_history_first_seconds": first[newest].tolist(),
                "user_history_last_seconds": last[newest].tolist(),
                "user_history_decayed_counts": decayed[newest].tolist(),
            },
            USER_CATEGORY_AFFINITY.name: {
                "user_affinity_categories": [table.categories[code] for code in categories.tolist()],
                "user_affinity_shares_90d": (counts / counts.sum()).tolist(),
            },
        }


def _names(prefix: str, numbers: NDArray[np.int64]) -> pa.DictionaryArray:
    labels = pa.array([f"{prefix}{number}" for number in range(int(numbers.max()) + 1)])
    return labels.take(pa.array(numbers))


def _items(size: int, log: _Log, rng: np.random.Generator) -> ItemTable:
    text = rng.integers(0, TEXTS, size)
    columns: dict[str, Any] = {name: pa.nulls(size, ITEMS.field(name).type) for name in ITEMS.names}
    columns["item_id"] = pa.array([f"i{item}" for item in range(size)])
    columns["title"] = pa.array([f"kind{one % SUBCATEGORIES} make{one % 97} pack{one % 11}" for one in text.tolist()])
    for name, many in (
        ("department", DEPARTMENTS),
        ("category", CATEGORIES),
        ("subcategory", SUBCATEGORIES),
        ("brand", BRANDS),
    ):
        columns[name] = pa.array([f"{name} {one % many}" for one in text.tolist()])
    users = np.bincount(log.items, minlength=size)
    features = {spec.name: _feature(spec.name, spec.unit, users, rng) for spec in ITEM_NUMERIC}
    features = {"item_id": columns["item_id"], **{name: pa.array(values) for name, values in features.items()}}
    return ItemTable.build(pa.table(columns, schema=ITEMS), pa.table(features))


def _feature(name: str, unit: str, users: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    if name == "item_age_days":
        values = np.where(users > 0, rng.uniform(1, DAYS, len(users)), np.nan)
    elif unit == "count":
        values = rng.poisson(users / 10).astype(float)
    elif unit == "1":
        values = rng.beta(1, 6, len(users))
    else:
        values = np.where(rng.random(len(users)) < 0.2, np.nan, rng.lognormal(1, 1, len(users)))
    return values.astype(np.float32)


def _put_online(home: Path, rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    apply(home)
    online = OnlineRows(home)
    for spec in (USER_PROFILE, USER_STATS, USER_HISTORY, USER_CATEGORY_AFFINITY):
        online.write(spec, {user: OnlineRow(row[spec.name], seconds(AS_OF)) for user, row in rows.items()})


def _query(user: str, row: Mapping[str, Mapping[str, Any]], items: ItemTable) -> Query:
    return build_query(user, _joined(row), items, now_seconds=seconds(AS_OF))


def _joined(row: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for view in row.values() for name, value in view.items()}


def _trained(model: TwoStageModel, queries: list[Query], rng: np.random.Generator) -> xgb.Booster:
    """Two stages, as the product trains them, on labels that depend on many features: trees grow to their full depth."""
    pools = [model.candidates(query) for query in queries]
    matrix = np.concatenate(
        [feature_matrix(query, pool, model.items) for query, pool in zip(queries, pools, strict=True)]
    )
    shares = np.nan_to_num((matrix - np.nanmean(matrix, axis=0)) / (np.nanstd(matrix, axis=0) + 1e-6))
    margin = np.tanh(shares) @ rng.normal(0, 0.6, matrix.shape[1]) + rng.logistic(0, 1, len(matrix))
    training = xgb.QuantileDMatrix(
        matrix,
        (margin > np.quantile(margin, 0.9)).astype(np.float32),
        qid=np.repeat(np.arange(len(pools)), [*map(len, pools)]),
    )
    params = {"max_depth": DEPTH, "eta": 0.05, "min_child_weight": 1.0, "nthread": 1, "subsample": 0.8, "seed": 0}
    first = xgb.train({**params, "objective": "binary:logistic"}, training, LOGISTIC_ROUNDS)
    return xgb.train({**params, "objective": "rank:ndcg"}, training, REFINING_ROUNDS, xgb_model=first)


def _placeholder() -> Ranker:
    width = len(RANKER_FEATURE_NAMES)
    return Ranker(xgb.train({"max_depth": 1}, xgb.DMatrix(np.zeros((2, width), np.float32), [0, 1]), 1))


def _write(folder: Path, model: TwoStageModel, rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    golden = []
    for user in list(rows)[:GOLDEN_REQUESTS]:
        top = model.rank(_query(user, rows[user], model.items)).top(10)
        golden.append(
            GoldenRequest(
                user_id=user,
                row=_joined(rows[user]),
                now_seconds=seconds(AS_OF),
                store_id=None,
                k=10,
                item_ids=model.items.item_ids[top.item_nums].tolist(),
                scores=top.scores.tolist(),
            )
        )
    start = (AS_OF - timedelta(days=DAYS)).isoformat()
    facts = BundleFacts(AS_OF.isoformat(), start, AS_OF.isoformat(), 0, 0, {}, {}, "synthetic")
    write_bundle(folder, model=model, policy=PolicyConfig(), golden=golden, facts=facts, extra_files={})
