"""A small world that is served as it was trained, and a bundle that stands for its training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost as xgb

from components.artifacts.feature_manifest import sha256
from components.artifacts.item_snapshot import published_items
from components.artifacts.manifest import FORMAT_VERSION, MANIFEST, RANKER, REFERENCE, BundleFacts, Manifest
from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import ITEM_NUMERIC, RANKER_FEATURE_NAMES, RANKER_FEATURES, schema_hash
from monitoring.config import FreshnessConfig, MonitoringConfig, QualityConfig, ReportConfig
from monitoring.run import run_monitoring
from monitoring.verdict import Verdict
from serving.feedback import FeedbackLog
from serving.prediction_log import FOLDER, IMPRESSIONS
from serving.protocol import FeedbackEvent

AS_OF = datetime(2017, 10, 30, tzinfo=UTC)
START, END = AS_OF, AS_OF + timedelta(days=7)
NOW = END + timedelta(days=7)
USERS, POSITIONS = 300, 4
CATEGORY, PRICE, AGE, RANK = "user_item_category_share_90d", "item_price_usd_90d", "user_age_years", "covisitation_rank"

Values = dict[str, np.ndarray]
Change = Callable[[Values], Values]


def feature_values(seed: int, users: int = USERS) -> Values:
    """What the ranker sees, one row per (user, position): shares are uniform, amounts lognormal, ages 30 % missing."""
    rng = np.random.default_rng(seed)
    size = users * POSITIONS
    values = {}
    for spec in RANKER_FEATURES:
        if spec.high is not None:
            values[spec.name] = np.floor(rng.uniform(spec.low, spec.high + 0.999, size))
        else:
            values[spec.name] = 1 + np.round(rng.lognormal(1, 1, size), 2)
    values[CATEGORY] = rng.beta(2, 38, size)
    values[AGE] = np.repeat(np.where(rng.random(users) < 0.3, np.nan, rng.uniform(20, 80, users)), POSITIONS)
    values[RANK] = np.where(rng.random(size) < 0.5, np.nan, rng.integers(1, 50, size))
    return values


def rows(values: Values, moment: datetime, *, label: bool = False, bundle_id: str = "") -> pa.Table:
    """Lists of POSITIONS items; user u is shown the items i0, i1, ... at the top, and took the first at the training."""
    users = len(values[CATEGORY]) // POSITIONS
    positions = np.tile(np.arange(1, POSITIONS + 1), users)
    names = np.repeat([f"u{user}" for user in range(users)], POSITIONS)
    columns: dict[str, object] = {
        "query_id": [f"{name}@{moment.date()}" for name in names],
        "user_id": names,
        "item_id": [f"i{position - 1}" for position in positions],
        "position": pa.array(positions, pa.int32()),
        "score": pa.array(values[CATEGORY] * 2, pa.float32()),
        "event_timestamp": pa.array([moment] * len(names), pa.timestamp("us", tz="UTC")),
    }
    if label:
        columns["label"] = pa.array(positions == 1, pa.float32())
    else:
        fixed = {"retriever": "covisitation", "variant": "champion", "bundle_id": bundle_id, "user_status": "ok"}
        columns |= {name: [value] * len(names) for name, value in fixed.items()}
        columns |= {name: pa.nulls(len(names)) for name in ("policy", "store_id", "filters")}
        columns |= {name: np.ones(len(names)) for name in ("propensity", "conditional_propensity")}
    return pa.table(columns | {name: pa.array(values[name], pa.float32()) for name in RANKER_FEATURE_NAMES})


@dataclass(frozen=True)
class World:
    """A state folder with a bundle."""

    home: Path
    bundle: Path
    bundle_id: str
    config: MonitoringConfig

    def serve(
        self, change: Change = dict, *, seed: int = 1, moment: datetime | None = None, users: int = USERS
    ) -> None:
        """Log a list for each user at the last noon of the window, with changed features."""
        at = moment or END - timedelta(hours=12)
        table = rows(change(feature_values(seed, users)), at, bundle_id=self.bundle_id)
        folder = self.home / FOLDER / f"date={at.date()}"
        folder.mkdir(parents=True, exist_ok=True)
        table = table.select(IMPRESSIONS.names).cast(IMPRESSIONS)
        pq.write_table(table, folder / f"{at:%H}-{seed}-{users}.parquet")

    def answer(self, items: Mapping[str, str], *, moment: datetime | None = None) -> None:
        """Purchases, user to item, six days after the lists were shown."""
        at = moment or END + timedelta(days=5, hours=12)
        events = [
            FeedbackEvent(
                event_id=f"{user}-{item}-{at:%d%H}",
                user_id=user,
                item_id=item,
                interaction_type="purchase",
                event_timestamp=at,
            )
            for user, item in items.items()
        ]
        FeedbackLog(self.home).append(events)

    def judge(self, *, start: datetime = START, end: datetime = END, now: datetime = NOW, **changes: object) -> Verdict:
        """The verdict, with its pages in `home/out`."""
        config = self.config.model_copy(update=changes)
        return run_monitoring(
            self.home, self.bundle, start=start, end=end, now=now, out=self.home / "out", config=config
        )


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A ranker whose gain is nearly all in CATEGORY, the lists of its training, and a manifest."""
    folder = tmp_path_factory.mktemp("bundle")
    values = feature_values(0)
    matrix = np.stack([values[name] for name in RANKER_FEATURE_NAMES], axis=1)
    data = xgb.DMatrix(matrix, label=40 * values[CATEGORY] + 0.05 * np.nan_to_num(values[PRICE]))
    xgb.train({"max_depth": 3, "nthread": 1, "seed": 0}, data, 10).save_model(folder / RANKER)
    pq.write_table(rows(values, AS_OF, label=True), folder / REFERENCE)
    manifest = Manifest(
        bundle_id="b-0123456789ab",
        format_version=FORMAT_VERSION,
        feature_service="ranker_v1",
        schema_hash=schema_hash(),
        features=RANKER_FEATURE_NAMES,
        quotas={},
        xgboost=xgb.__version__,
        facts=BundleFacts(AS_OF.isoformat(), "2017-01-01", AS_OF.isoformat(), 1, 0, {}, {}, "test"),
        files={name: sha256(folder / name) for name in (RANKER, REFERENCE)},
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder, manifest.bundle_id


def refresh(home: Path, now: datetime) -> None:
    """Snapshots of the day before, and items that were published now."""
    for view in FreshnessConfig().views:
        folder = home / "offline" / view
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{now - timedelta(days=1):%Y%m%dT%H%M%SZ}.parquet").touch()
    published = published_items(home)
    published.parent.mkdir(exist_ok=True)
    features = {spec.name: pa.array([0.0], pa.float32()) for spec in ITEM_NUMERIC}
    pq.write_table(pa.table({"item_id": ["i0"], "event_timestamp": pa.array([now], TIMESTAMP)} | features), published)


@pytest.fixture
def world(tmp_path: Path, bundle: tuple[Path, str]) -> World:
    """Fresh snapshots, no logs yet."""
    refresh(tmp_path, NOW)
    config = MonitoringConfig(
        min_users=100, quality=QualityConfig(k=POSITIONS, draws=100), report=ReportConfig(with_evidently=False)
    )
    return World(tmp_path, bundle[0], bundle[1], config)


@pytest.fixture
def served(world: World) -> World:
    """Served as trained: every user took the first item again."""
    world.serve()
    world.answer({f"u{user}": "i0" for user in range(USERS)})
    return world


def times(name: str, factor: float) -> Change:
    """A feature multiplied."""
    return lambda values: values | {name: values[name] * factor}


def lost(name: str, share: float) -> Change:
    """A feature that is missing for the first users."""

    def change(values: Values) -> Values:
        gone = np.arange(len(values[name])) < share * len(values[name])
        return values | {name: np.where(gone, np.nan, values[name])}

    return change
