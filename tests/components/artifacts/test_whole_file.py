import os

import pytest

from components.artifacts.whole_file import file_stamp, write_whole


def test_file_is_replaced_whole_and_a_leftover_of_a_crash_does_not_matter(tmp_path):
    path = tmp_path / "facts.json"
    (tmp_path / "facts.json.unfinished").write_text("half of a long cont")
    write_whole(path, "first")
    write_whole(path, "second")
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"facts.json": "second"}


def test_writing_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "facts.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half a character: \ud83d")
    assert path.read_text() == "old"


def test_mode_holds_from_the_first_byte_on(tmp_path):
    umask = os.umask(0)
    try:
        write_whole(tmp_path / "secret", "x", mode=0o600)
    finally:
        os.umask(umask)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_stamp_tells_a_file_from_the_one_in_its_place_though_size_and_time_are_the_same(tmp_path):
    path = tmp_path / "facts.json"
    assert file_stamp(path) is None
    write_whole(path, "first")
    before, facts = file_stamp(str(path)), path.stat()
    assert before == file_stamp(path)
    write_whole(path, "other")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert before != file_stamp(path)
