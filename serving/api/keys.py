"""API keys: made by `recsys keys`, shown once, kept as hashes, read by the door.

    $RECSYS_HOME/keys.json     mode 0600

A key is 256 random bits, so its plain SHA-256 cannot be guessed backwards: there is no dictionary of such keys, and
trying 2^255 of them is hopeless at any speed. A slow hash (bcrypt, Argon2) protects passwords, which people choose; here
it would only cost each request milliseconds and give strangers a way to burn them. Digests are compared in constant time.
"""

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.artifacts.errors import ContractError, NotFoundError
from components.artifacts.whole_file import file_stamp, write_whole

log = logging.getLogger(__name__)

FILE = "keys.json"
SECRET_BYTES = 32
KEY_FORM = re.compile(r"rk_([0-9a-f]{8})_[0-9a-f]{64}", re.ASCII)
Scope = Literal["recommend", "events", "explain", "metrics", "console", "operate"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


class ApiKey(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str = Field(description="8 hex digits, a part of the key itself")
    name: str = Field(min_length=1, max_length=64, description="Whose it is")
    scopes: tuple[Scope, ...] = Field(min_length=1, description="What it may do")
    sha256: str = Field(description="Of the whole key")
    created: datetime = Field(description="When it was made")
    expires: datetime | None = Field(None, description="From when on it is refused")
    revoked: datetime | None = Field(None, description="When it was taken back")

    def state(self, now: datetime) -> Literal["active", "revoked", "expired"]:
        """Whether it is in force."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"


class KeyFile(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    keys: tuple[ApiKey, ...] = ()


def create_key(
    home: Path, name: str, scopes: Sequence[Scope], *, now: datetime, expires: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key and keep its hash; what is kept, and the key itself, which nobody can show again."""
    key_id = secrets.token_hex(4)
    secret = f"rk_{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    key = ApiKey(key_id=key_id, name=name, scopes=tuple(scopes), sha256=_digest(secret), created=now, expires=expires)
    with _lock(home):
        _write(home, (*read_keys(home), key))
    return key, secret


def revoke_key(home: Path, named: str, *, now: datetime) -> list[ApiKey]:
    """Take back the key of an id, or all of a name, and hand them over; harmless to repeat.

    What was taken back before keeps its `revoked`; what is taken back now has `now` there.

    Raises:
        NotFoundError: There is no such key.
    """
    with _lock(home):
        keys = read_keys(home)
        meant = {key.key_id for key in keys if named in (key.key_id, key.name)}
        if not meant:
            raise NotFoundError(f"no key {named!r} in {home / FILE}. `recsys keys list` shows what there is.")
        keys = tuple(
            key.model_copy(update={"revoked": key.revoked or now}) if key.key_id in meant else key for key in keys
        )
        _write(home, keys)
    return [key for key in keys if key.key_id in meant]


def read_keys(home: Path) -> tuple[ApiKey, ...]:
    """All keys, the oldest first; none where there is no file.

    Raises:
        ContractError: The file cannot be read.
    """
    path = home / FILE
    try:
        return KeyFile.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        raise ContractError(
            f"{path}: no readable list of keys ({type(error).__name__}). Restore it, or remove it and make new keys."
        ) from error


class KeyRing:
    """The keys as the door sees them: read anew when the file changes.

    Once there was a key, one is asked for until the process ends: a file that vanishes or breaks locks the door, it
    does not open it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._path = str(home / FILE)
        self._seen = file_stamp(self._path)
        self._keys = {key.key_id: key for key in read_keys(home)}
        self._is_locked = bool(self._keys)

    @property
    def is_locked(self) -> bool:
        """Whether a key is asked for."""
        return self._is_locked

    def find(self, secret: str) -> ApiKey | None:
        """The key that this is, in force or not; None where it is none."""
        form = KEY_FORM.fullmatch(secret)
        key = self._keys.get(form[1]) if form else None
        return key if key is not None and hmac.compare_digest(key.sha256, _digest(secret)) else None

    def refresh(self) -> None:
        """Read the file again if it changed; once per request."""
        stamp = file_stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._keys = {key.key_id: key for key in read_keys(self._home)}
        except ContractError as error:
            log.error("no key is taken until this is mended: %s", error)
            self._keys, self._is_locked = {}, True
        self._is_locked = self._is_locked or bool(self._keys)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _lock(home: Path) -> FileLock:
    home.mkdir(parents=True, exist_ok=True)
    return FileLock(home / f"{FILE}.lock")


def _write(home: Path, keys: Sequence[ApiKey]) -> None:
    """Never readable by others, not even while it is written."""
    write_whole(home / FILE, KeyFile(keys=tuple(keys)).model_dump_json(indent=1) + "\n", mode=0o600)
