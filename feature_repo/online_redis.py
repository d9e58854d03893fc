"""One entity's rows in Feast's Redis store, in one exchange.

All views of an entity share one Redis hash: a field per feature, named by a hash of view and feature, and one with the
view's time. So one HMGET brings them all, and one HSET writes several views at once or not at all.
"""

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from feature_repo.online_values import Change, OnlineRow, Rows, decoded, key_bytes, protos  # isort: split

from feast.infra.online_stores.helpers import _mmh3
from google.protobuf.timestamp_pb2 import Timestamp
from redis.exceptions import WatchError

from feature_repo.schema import ViewSpec

ATTEMPTS, PAUSE_SECONDS = 50, 0.001
"""Of an update that others get before: a draw of the pause, longer each time, lets one of them through."""


class RedisRows:
    """Some views of one kind of entity; safe to share between threads."""

    def __init__(  # a client of redis-py
        self, client: Any, project: str, specs: Sequence[ViewSpec], *, as_arrays: bool = False
    ) -> None:
        self._client, self._suffix = client, project.encode()
        self._specs = {spec.name: spec for spec in specs}
        self._entity, self._as_arrays = specs[0].entity, as_arrays
        self._fields = [field for spec in specs for field in _fields(spec)]

    def read(self, entity_id: str) -> Rows:
        """Of each view the entity's row, None where there is none."""
        return self._rows(self._client.hmget(self._key(entity_id), self._fields))

    def update(self, ids: Sequence[str], change: Change) -> None:
        """Read, change and write; who writes one of the entities meanwhile makes it begin anew.

        Raises:
            WatchError: Others were faster at every attempt.
        """
        keys = [self._key(entity_id) for entity_id in ids]
        for attempt in range(ATTEMPTS):
            with self._client.pipeline() as pipe:
                pipe.watch(*keys)
                changed = [change(one, rows) for one, rows in zip(ids, self._read_all(keys), strict=True)]
                pipe.multi()
                for key, rows in zip(keys, changed, strict=True):
                    if rows:
                        pipe.hset(key, mapping=self._content(rows))
                try:
                    pipe.execute()
                except WatchError:
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(PAUSE_SECONDS * attempt * random.random())  # noqa: S311 - a pause, no secret
                else:
                    return

    def _read_all(self, keys: Sequence[bytes]) -> list[dict[str, OnlineRow | None]]:
        with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, self._fields)
            return [self._rows(contents) for contents in pipe.execute()]

    def _key(self, entity_id: str) -> bytes:
        return key_bytes(self._entity, entity_id) + self._suffix

    def _rows(self, contents: Sequence[bytes | None]) -> dict[str, OnlineRow | None]:
        rows: dict[str, OnlineRow | None] = {}
        end = 0
        for name, spec in self._specs.items():
            start, end = end, end + 1 + len(spec.features)
            moment, *values = contents[start:end]
            rows[name] = None if moment is None else self._row(spec, moment, values)
        return rows

    def _row(self, spec: ViewSpec, moment: bytes, values: Sequence[bytes | None]) -> OnlineRow:
        return OnlineRow(decoded(spec, values, as_arrays=self._as_arrays), _seconds(moment))

    def _content(self, rows: Mapping[str, OnlineRow]) -> dict[bytes, bytes]:
        content: dict[bytes, bytes] = {}
        for name, row in rows.items():
            spec = self._specs[name]
            values = [value.SerializeToString() for value in protos(spec, row.values).values()]
            moment = Timestamp(seconds=row.seconds).SerializeToString()
            content |= zip(_fields(spec), [moment, *values], strict=True)
        return content


def _fields(spec: ViewSpec) -> list[bytes]:
    """The view's time, then its features."""
    return [f"_ts:{spec.name}".encode(), *(_mmh3(f"{spec.name}:{feature.name}") for feature in spec.features)]


def _seconds(moment: bytes) -> int:
    return int(Timestamp.FromString(moment).seconds)
