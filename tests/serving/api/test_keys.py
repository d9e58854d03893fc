import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from components.artifacts.errors import ContractError, NotFoundError
from serving.api.keys import FILE, KeyRing, create_key, read_keys, revoke_key

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def test_key_is_kept_as_a_hash_that_only_its_owner_can_read(tmp_path):
    key, secret = create_key(tmp_path, "shop", ["recommend"], now=NOW)
    assert len(secret) == len("rk_") + 8 + 1 + 64  # 32 bytes are 64 hex digits
    written = (tmp_path / FILE).read_text()
    assert secret not in written
    assert secret[12:] not in written
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert KeyRing(tmp_path).find(secret) == key


def test_key_is_in_force_until_it_expires_and_not_at_that_moment(tmp_path):
    key, _ = create_key(tmp_path, "shop", ["events"], now=NOW, expires=NOW + timedelta(days=1))
    assert key.state(NOW + timedelta(hours=23)) == "active"
    assert key.state(NOW + timedelta(days=1)) == "expired"


def test_name_revokes_all_its_keys_and_the_first_time_stays(tmp_path):
    first, _ = create_key(tmp_path, "shop", ["events"], now=NOW)
    create_key(tmp_path, "shop", ["events"], now=NOW)
    other, _ = create_key(tmp_path, "app", ["events"], now=NOW)
    revoke_key(tmp_path, first.key_id, now=NOW)
    revoke_key(tmp_path, "shop", now=NOW + timedelta(days=1))
    assert [key.revoked for key in read_keys(tmp_path)] == [NOW, NOW + timedelta(days=1), None]
    assert read_keys(tmp_path)[2] == other


def test_revoking_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(NotFoundError, match=r"no key 'nobody' in .*keys list"):
        revoke_key(tmp_path, "nobody", now=NOW)


def test_file_that_breaks_locks_the_door_and_stops_the_next_start(tmp_path):
    ring = KeyRing(tmp_path)
    assert not ring.is_locked
    (tmp_path / FILE).write_text(json.dumps({"keys": "all of them"}))
    ring.refresh()
    assert ring.is_locked
    with pytest.raises(ContractError, match=r"keys\.json: no readable list of keys"):
        KeyRing(tmp_path)


def test_ring_finds_nothing_in_what_is_no_key(tmp_path):
    _, secret = create_key(tmp_path, "shop", ["events"], now=NOW)
    ring = KeyRing(tmp_path)
    assert all(ring.find(wrong) is None for wrong in ("", "rk_", secret[:-1], secret + "0", secret.upper(), "é" * 76))
