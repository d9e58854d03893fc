from datetime import UTC, datetime, timedelta

from serving.feedback import FOLDER, FeedbackLog, read_feedback
from serving.protocol import FeedbackEvent

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)


def event(event_id: str, at: datetime = AT) -> FeedbackEvent:
    return FeedbackEvent(event_id=event_id, user_id="u", item_id="i", interaction_type="purchase", event_timestamp=at)


def test_written_events_are_read_back_by_time(tmp_path):
    FeedbackLog(tmp_path).append([event("b", AT + timedelta(seconds=1)), event("a")])
    read = read_feedback(tmp_path, AT, AT + timedelta(days=1))
    assert read["event_id"].to_pylist() == ["a", "b"]
    assert read["event_timestamp"].to_pylist()[0] == AT


def test_event_is_kept_once_within_a_batch_between_batches_and_after_a_restart(tmp_path):
    log = FeedbackLog(tmp_path)
    assert len(log.append([event("a"), event("a")])) == 1
    assert log.append([event("a")]) == []
    assert FeedbackLog(tmp_path).append([event("a")]) == []


def test_window_is_half_open(tmp_path):
    FeedbackLog(tmp_path).append([event("start", AT), event("end", AT + timedelta(days=1))])
    assert read_feedback(tmp_path, AT, AT + timedelta(days=1))["event_id"].to_pylist() == ["start"]


def test_line_that_a_crash_cut_off_is_skipped_and_the_next_one_stands_alone(tmp_path, caplog):
    FeedbackLog(tmp_path).append([event("a")])
    path = tmp_path / FOLDER / "2024-05-01.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event_id": "cut')
    again = FeedbackLog(tmp_path)
    again.append([event("b")])
    assert read_feedback(tmp_path, AT, AT + timedelta(days=1))["event_id"].to_pylist() == ["a", "b"]
    assert "line 2: cut off by a crash" in caplog.text


def test_no_feedback_is_an_empty_table(tmp_path):
    assert read_feedback(tmp_path, AT, AT + timedelta(days=1)).num_rows == 0
