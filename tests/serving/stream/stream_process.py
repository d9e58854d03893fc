"""Consumers as processes that may be killed, and topics of a test's own on a real broker."""

import itertools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import orjson
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from feature_repo.online import OnlineRows
from feature_repo.schema import USER_HISTORY
from pipelines.server_process import free_ports
from serving.stream.__main__ import main
from serving.stream.mirror import __main__ as mirror_program
from serving.stream.mirror import log_tail
from serving.stream.mirror.log_tail import LogTail
from tests.servers import PASSWORD
from tests.serving.event_process import FORKS, _slowed

PARTITIONS = 4
LONGEST_SECONDS = 120.0
NUMBERS = itertools.count()
IMPATIENT = """
session.timeout.ms=2500
heartbeat.interval.ms=300
reconnect.backoff.max.ms=500
"""
"""A member that was killed is missed soon, so that a test does not wait three quarters of a minute for its partitions."""


def consume(variables: Mapping[str, str], log: Path, is_slow: bool) -> None:
    """What `python -m serving.stream` does, in a process that has its modules already."""
    os.environ.update(variables)
    logging.basicConfig(filename=log, level=logging.INFO, force=True)
    if is_slow:
        _slow_down()
    sys.argv, sys.stderr = ["python -m serving.stream"], log.open("a")
    sys.exit(main())


def mirror(variables: Mapping[str, str], log: Path, is_slow: bool) -> None:
    """What `python -m serving.stream.mirror` does."""
    os.environ.update(variables)
    logging.basicConfig(filename=log, level=logging.INFO, force=True)
    if is_slow:
        LogTail.done = _slowed(LogTail.done)
        log_tail.READ_BYTES = 2000  # a dozen events at once
    sys.argv, sys.stderr = ["python -m serving.stream.mirror"], log.open("a")
    sys.exit(mirror_program.main())


def _slow_down() -> None:
    """Pauses around each step, so that a kill falls between any two as often as into one."""
    from serving.feedback import FeedbackLog
    from serving.stream.consumer import EventStream
    from serving.stream.dead_letters import DeadLetters

    for owner, step in (
        (FeedbackLog, "append_all"),
        (FeedbackLog, "applied"),
        (DeadLetters, "settle"),
        (EventStream, "_commit"),
    ):
        setattr(owner, step, _slowed(getattr(owner, step)))


@dataclass
class Topics:
    """A topic of events and one of dead letters, of a test's own."""

    bootstrap: str
    folder: Path
    number: int = field(default_factory=lambda: next(NUMBERS))

    @property
    def name(self) -> str:
        return f"events-{self.number}"

    @property
    def dead(self) -> str:
        return f"{self.name}.dead-letters"

    def make(self, **dead_letter_config: str) -> None:
        self.make_one(self.name, PARTITIONS)
        self.make_one(self.dead, 1, dead_letter_config)

    def make_one(self, name: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        topic = NewTopic(name, partitions, 1, config=dict(config or {}))
        for made in admin.create_topics([topic]).values():
            made.result()

    def admit(self, user: str) -> None:
        """Give a user the broker's password."""
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(user, credential, PASSWORD.encode())
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for done in admin.alter_user_scram_credentials([change]).values():
            done.result()

    def send(self, records: Iterable[Any]) -> None:
        """Events as JSON, or anything as bytes; the key is the user where there is one."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all"})
        for record in records:
            is_raw = record is None or isinstance(record, bytes)
            key = b"key" if is_raw else str(record.get("user_id")).encode()
            producer.produce(self.name, record if is_raw else orjson.dumps(record), key, headers={"shop": b"1"})
            producer.poll(0)
        assert producer.flush(LONGEST_SECONDS) == 0

    def left(self) -> int:
        """Records that the group has not committed; a broker that has just come back is asked again."""
        own = [TopicPartition(self.name, number) for number in range(PARTITIONS)]
        end = time.monotonic() + LONGEST_SECONDS
        while True:
            try:
                places = self._reader.committed(own, timeout=10)
                ends = [self._reader.get_watermark_offsets(place, timeout=10)[1] for place in places]
            except KafkaException:
                assert time.monotonic() < end
                time.sleep(0.1)
                continue
            return sum(last - max(place.offset, 0) for place, last in zip(places, ends, strict=True))

    def dead_letters(self) -> list[Message]:
        return self.read(self.dead)

    def read(self, topic: str) -> list[Message]:
        """All records of the only partition of a topic."""
        low, high = self._reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
        self._reader.assign([TopicPartition(topic, 0, low)])
        found: list[Message] = []
        while len(found) < high - low:
            found += self._reader.consume(high - low - len(found), 1.0)
        return found

    @cached_property
    def _reader(self) -> Consumer:
        """Looks at the group's places without being a member: it subscribes to nothing and commits nothing."""
        return Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "recsys", "enable.auto.commit": False, "log_level": 0}
        )

    def start(self, home: Path, *, is_slow: bool = False, **settings: str) -> "Member":
        """A consumer on a state folder."""
        return self._started(consume, home, {"topic": self.name, **settings}, is_slow)

    def start_mirror(self, home: Path, *, is_slow: bool = False, **settings: str) -> "Member":
        """A mirror of a state folder, to the topic of events."""
        told = {"topic": f"{self.name}.taken", "mirror_topic": self.name}
        return self._started(mirror, home, {**told, **settings}, is_slow)

    def _started(self, run: Callable[..., None], home: Path, settings: Mapping[str, str], last: Any) -> "Member":
        properties = self.folder / "client.properties"
        properties.write_text(IMPATIENT)
        [port] = free_ports(1)
        where = {"bootstrap_servers": self.bootstrap, "properties_file": str(properties)}
        given = {**where, **settings, "http_port": str(port)}
        variables = {f"RECSYS_KAFKA_{name.upper()}": value for name, value in given.items()} | {
            "RECSYS_HOME": str(home)
        }
        log = self.folder / f"stream-{port}.log"
        process = FORKS.Process(target=run, args=(variables, log, last), daemon=True)
        process.start()
        return Member(process, f"http://127.0.0.1:{port}", log)


@dataclass(frozen=True)
class Member:
    """A consumer that runs."""

    process: Any  # of multiprocessing's forkserver
    url: str
    log: Path

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def metric(self, name: str) -> float:
        try:
            text = httpx.get(f"{self.url}/metrics", timeout=5, trust_env=False).text
        except httpx.TransportError:
            return 0.0
        [value] = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(value)

    def end(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        self.process.join(LONGEST_SECONDS)
        assert self.process.exitcode is not None, self.log.read_text()
        return int(self.process.exitcode)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def until(is_so: Callable[[], bool], member: Member) -> None:
    end = time.monotonic() + LONGEST_SECONDS
    while not is_so():
        said = member.log.read_text() if member.log.exists() else "nothing"
        assert member.process.exitcode is None, said
        assert time.monotonic() < end, said
        time.sleep(0.1)


def counted(home: Path, users: Iterable[str]) -> dict[tuple[str, str], float]:
    """User and item to how often the user's history says that it was taken."""
    rows, found = OnlineRows(home).of_entity([USER_HISTORY]), {}
    for user in users:
        row = rows.read(user)[USER_HISTORY.name]
        if row is not None:
            items, counts = row.values["user_history_item_ids"], row.values["user_history_counts"]
            found |= {(user, item): count for item, count in zip(items, counts, strict=True)}
    return found


def headers(record: Message) -> dict[str, bytes]:
    return {name: value for name, value in record.headers() or [] if isinstance(value, bytes)}


def ids(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(line["event_id"] for line in lines)
