import tracemalloc
from datetime import UTC, datetime, timedelta

from components.artifacts.day_logs import FEEDBACK_FOLDER
from components.artifacts.feedback import read_feedback
from serving.feedback import FeedbackLog
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
    path = tmp_path / FEEDBACK_FOLDER / "2024-05-01.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event_id": "cut')
    again = FeedbackLog(tmp_path)
    again.append([event("b")])
    assert read_feedback(tmp_path, AT, AT + timedelta(days=1))["event_id"].to_pylist() == ["a", "b"]
    assert "line 2: cut off by a crash" in caplog.text


def test_no_feedback_is_an_empty_table(tmp_path):
    assert read_feedback(tmp_path, AT, AT + timedelta(days=1)).num_rows == 0


def test_memory_does_not_grow_with_the_log_and_a_log_without_an_index_is_read_once(tmp_path):
    log = FeedbackLog(tmp_path)
    log.append([event(str(number)) for number in range(20_000)])
    log.close()
    for path in (tmp_path / FEEDBACK_FOLDER).glob("index.db*"):
        path.unlink()
    tracemalloc.start()
    again = FeedbackLog(tmp_path)  # as after an update from a version without an index
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 20_000 * 10  # an id alone would take more than ten bytes
    assert again.append([event("19999"), event("new")])[0].event_id == "new"
    assert again.count_waiting() == 1  # what the former version wrote is in the rows


def test_event_id_is_known_for_a_while_and_readers_keep_one_of_it_after(tmp_path):
    now = [1_000_000.0]
    log = FeedbackLog(tmp_path, remembered_days=2.0, clock=lambda: now[0])
    written = log.append([event("a")])
    log.applied(written)
    now[0] += 2 * 86_400 - 1
    assert log.append([event("a")]) == []
    now[0] += 3600 + 1
    log.append([event("b")])  # an hour later at most, what is over is forgotten
    assert len(log.append([event("a")])) == 1
    assert read_feedback(tmp_path, AT, AT + timedelta(days=1))["event_id"].to_pylist() == ["a", "b"]


def test_event_that_the_store_lacks_is_never_forgotten(tmp_path):
    now = [1_000_000.0]
    log = FeedbackLog(tmp_path, remembered_days=2.0, clock=lambda: now[0])
    log.append([event("a")])
    now[0] += 10 * 86_400
    log.append([event("b")])
    assert [one.event_id for one in log.waiting(10)] == ["a", "b"]


def test_two_logs_of_one_folder_know_each_others_events(tmp_path):
    one, other = FeedbackLog(tmp_path), FeedbackLog(tmp_path)
    assert len(one.append([event("a")])) == 1
    assert other.append([event("a"), event("b")])[0].event_id == "b"
    assert one.append([event("b")]) == []


def test_lines_that_a_crash_left_behind_the_index_are_found_by_whoever_writes_next(tmp_path):
    running = FeedbackLog(tmp_path)
    running.append([event("a")])
    path = tmp_path / FEEDBACK_FOLDER / "2024-05-01.jsonl"
    line = path.read_bytes().replace(b'"a"', b'"left"')
    path.write_bytes(path.read_bytes() + line)  # another process wrote it and ended before it told the index
    assert running.append([event("left")]) == []
    assert [one.event_id for one in running.waiting(10)] == ["a", "left"]


def test_hosts_that_share_the_folder_have_logs_of_their_own_and_an_event_that_both_were_told_is_read_once(tmp_path):
    FeedbackLog(tmp_path, host="pod-a").append([event("a"), event("b")])
    FeedbackLog(tmp_path, host="pod-b").append([event("b"), event("c")])
    written = {
        str(path.relative_to(tmp_path / FEEDBACK_FOLDER)) for path in (tmp_path / FEEDBACK_FOLDER).rglob("*.jsonl")
    }
    assert written == {"pod-a/2024-05-01.jsonl", "pod-b/2024-05-01.jsonl"}
    assert read_feedback(tmp_path, AT, AT + timedelta(days=1))["event_id"].to_pylist() == ["a", "b", "c"]
