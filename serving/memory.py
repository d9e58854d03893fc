"""What the allocators keep after a bundle was freed, given back to the system."""

import contextlib
import ctypes

import pyarrow as pa


def give_back() -> None:
    """Return free pages: a swap frees hundreds of megabytes in pieces, and glibc keeps them for later."""
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such call
        ctypes.CDLL("libc.so.6").malloc_trim(0)
