"""The log of impressions is written beside the answers: by day, in parts between which requests go on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.ranking.two_stage import Ranking
from feature_repo.schema import RANKER_FEATURE_NAMES, RETRIEVERS
from serving import prediction_log
from serving.exploration import Draw
from serving.prediction_log import FOLDER, Impressions, PredictionLog, table_of

MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)


def shown(number: int, moment: datetime, size: int = 2) -> Impressions:
    rng = np.random.default_rng(number)
    top = Ranking(
        np.arange(size, dtype=np.int32),
        rng.random(size).astype(np.float32),
        rng.random((size, len(RETRIEVERS))).astype(np.float32),
        rng.random((size, len(RANKER_FEATURE_NAMES))).astype(np.float32),
    )
    return Impressions(
        query_id=f"{number:032x}",
        user_id=f"u{number}",
        user_status="ok",
        bundle_id="b-1",
        variant="stable",
        moment=moment,
        item_ids=tuple(f"i{place}" for place in range(size)),
        retrievers=("content",) * size,
        top=top,
        draw=Draw(np.arange(size), np.ones(size, np.float32), np.ones(size, np.float32)),
        policy="ranked",
        store_id=None,
        filters=None,
    )


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """Parts of three answers, and the pauses that were made."""
    made: list[float] = []
    monkeypatch.setattr(prediction_log, "PART", 3)
    monkeypatch.setattr(prediction_log.time, "sleep", made.append)
    return made


def written(home: Path, day: str):
    return pq.read_table(next((home / FOLDER / f"date={day}").glob("*.parquet")), partitioning=None)


def test_file_written_in_parts_is_the_table_of_all_answers(tmp_path, pauses):
    log, answers = PredictionLog(tmp_path), [shown(number, MIDNIGHT) for number in range(7)]
    for one in answers:
        log.add(one)
    assert log.flush() == 14
    assert written(tmp_path, "2026-01-02").equals(table_of(answers))
    assert pauses == [prediction_log.PAUSE_SECONDS] * 2  # 3 + 3 + 1


def test_answers_of_one_flush_lie_in_the_folders_of_their_days_in_utc(tmp_path, pauses):
    late = (MIDNIGHT - timedelta(microseconds=1)).astimezone(datetime.now().astimezone().tzinfo)
    log = PredictionLog(tmp_path)
    for number, moment in enumerate([MIDNIGHT, late, MIDNIGHT]):
        log.add(shown(number, moment))
    log.flush()
    assert set(written(tmp_path, "2026-01-01")["user_id"].to_pylist()) == {"u1"}
    assert set(written(tmp_path, "2026-01-02")["user_id"].to_pylist()) == {"u0", "u2"}
    assert pauses == []


def test_nothing_shown_writes_nothing(tmp_path, pauses):
    assert PredictionLog(tmp_path).flush() == 0
    assert not (tmp_path / FOLDER).exists()
