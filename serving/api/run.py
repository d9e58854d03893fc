"""Commands that the door runs as processes of their own: what is behind them is not part of it."""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RUN_SECONDS = 60.0
"""Longest that a command may take; a rollout's act waits for servers."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended; `code` is None where it was ended for taking too long."""

    code: int | None
    output: bytes
    said: str


async def run(arguments: Sequence[str], home: Path) -> Ran:
    """Run this interpreter with arguments, on a state folder.

    Args:
        arguments: For example `-m monitoring.console`; nothing is read by a shell.
        home: State folder.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", *arguments),
        env=os.environ | {"RECSYS_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            output, said = await process.communicate()
    except TimeoutError:
        return Ran(None, b"", f"not done within {RUN_SECONDS:.0f} s")
    finally:
        if process.returncode is None:
            process.kill()
    return Ran(process.returncode, output, said.decode(errors="replace").strip())
