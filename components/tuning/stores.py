"""Where studies are kept, and how their workers know of each other: a file of one machine, or a PostgreSQL of many.

A worker lives as long as it holds a lock that is taken back by whatever ends it: the kernel takes back that of a file, and
PostgreSQL an advisory one with the connection.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.pool import NullPool

from components.artifacts.errors import ConfigError, RecsysError
from components.tuning.config import STUDIES_URL
from feature_repo.schema import SchemaError
from feature_repo.store_config import refuse_unverified

SCHEME, DRIVER = "postgresql+psycopg", "postgresql"
"""As SQLAlchemy writes a URL, and as the driver does."""
SCHEMA = "schema of the studies"
"""Lock of whoever makes the tables; two at once would each find none."""
KEEPALIVE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
"""A machine that is gone without a word is noticed by the server within a minute, and its workers' locks with it."""
CONNECT_SECONDS = 10


class StudyStore(Protocol):
    """What a search asks of the place where its study is kept. It is told to other processes, so it can be pickled."""

    def storage(self) -> BaseStorage:
        """Optuna's."""

    def claiming(self, study: str) -> AbstractContextManager[object]:
        """Held by one worker of a study at a time."""

    def alive(self, worker: str) -> AbstractContextManager[object]:
        """Held by a worker while it has a trial."""

    def is_alive(self, worker: str) -> bool:
        """Whether somebody holds that."""


class StudiesAwayError(RecsysError):
    """The database of the studies does not answer."""


def study_store(home: Path) -> StudyStore:
    """The PostgreSQL that $RECSYS_STUDIES_URL names, else a file of the state folder.

    Raises:
        ConfigError: The URL is of another kind, or does without verifying; it is not repeated, for it holds a password.
    """
    url = os.environ.get(STUDIES_URL)
    if not url:
        return JournalStore(home / "tuning" / "studies.journal")
    scheme = urlsplit(url).scheme
    if scheme != SCHEME:
        raise ConfigError(
            f"{STUDIES_URL}: begins with {scheme or 'no scheme'}://, expected {SCHEME}://USER:PASSWORD@HOST:5432/DATABASE."
        )
    try:
        refuse_unverified(url, STUDIES_URL)
    except SchemaError as error:
        raise ConfigError(str(error)) from error
    return PostgresStore(url)


@dataclass(frozen=True, slots=True)
class JournalStore:
    """A file that processes of one machine share, with a folder of lock files beside it.

    Attributes:
        path: Of the file.
    """

    path: Path

    def storage(self) -> BaseStorage:
        """A journal; its folder is made where there is none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(self.path)))

    def claiming(self, study: str) -> FileLock:
        """A lock file of the study."""
        return self._lock(study)

    @contextmanager
    def alive(self, worker: str) -> Iterator[None]:
        """A lock file of the worker, which it takes away itself where it can."""
        lock = self._lock(worker)
        try:
            with lock:
                yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)

    def is_alive(self, worker: str) -> bool:
        """Whether its file is locked; a dead worker's is taken away."""
        lock = self._lock(worker)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
        return False

    def _lock(self, name: str) -> FileLock:
        folder = self.path.parent / f"{self.path.name}.locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / name)


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """A database that processes of many machines share. A pooler between must keep sessions: locks are theirs.

    Attributes:
        url: SQLAlchemy URL with the password.
    """

    url: str = field(repr=False)

    def storage(self) -> BaseStorage:
        """Optuna's tables, made where there are none; a connection lasts as long as a statement needs it."""
        with self._locked(SCHEMA):
            return RDBStorage(self.url, engine_kwargs={"poolclass": NullPool})

    def claiming(self, study: str) -> AbstractContextManager[object]:
        """The study's advisory lock."""
        return self._locked(study)

    def alive(self, worker: str) -> AbstractContextManager[object]:
        """The worker's advisory lock."""
        return self._locked(worker)

    def is_alive(self, worker: str) -> bool:
        """Whether its lock is taken."""
        with self._connection() as connection:
            [is_free] = connection.execute("SELECT pg_try_advisory_lock(%s)", [_key(worker)]).fetchone() or [False]
        return not is_free

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._connection() as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [_key(name)])
            yield

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        """One of its own; its locks end with it.

        Raises:
            StudiesAwayError: The database does not answer, or does not accept the password.
        """
        parts = urlsplit(self.url)
        try:
            connection = psycopg.connect(
                parts._replace(scheme=DRIVER).geturl(),
                autocommit=True,  # an open transaction over a whole trial would keep the server from tidying up
                connect_timeout=CONNECT_SECONDS,
                options=KEEPALIVE,
            )
        except psycopg.OperationalError as error:
            where = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
            raise StudiesAwayError(f"studies in {where}: not reached ({error}). {STUDIES_URL} names them.") from error
        try:
            yield connection
        finally:
            connection.close()


def _key(name: str) -> int:
    """PostgreSQL knows a lock by 64 bits."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
