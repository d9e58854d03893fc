"""Files that are there whole or not at all."""

import os
from pathlib import Path

FileStamp = tuple[int, int, int]


def file_stamp(path: str | Path) -> FileStamp | None:
    """Time (ns), inode and size of a file: others where `write_whole` has replaced it. None where there is none to be read.

    Args:
        path: A str where it is asked once per request: a Path costs as much again.
    """
    try:
        return stamp_of(os.stat(path))  # noqa: PTH116 - as said
    except OSError:
        return None


def stamp_of(facts: os.stat_result) -> FileStamp:
    """The same of what a file's system says of it, for who has to know why it says nothing."""
    return facts.st_mtime_ns, facts.st_ino, facts.st_size


def write_whole(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a file so that readers see the old one or the new one, and so does who comes after a power cut.

    Whoever calls it holds the lock of the file: two writers of one moment would meet in the unfinished one.

    Args:
        path: In a folder that is there.
        text: All of it.
        mode: Of the new file, less the process's umask; it has it while it is written already.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
