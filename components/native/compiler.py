"""Functions of plain loops over arrays, compiled to machine code by Numba when they are first called.

What is compiled is kept on the disk where a folder can be written (beside the module, else in the user's cache, or in
NUMBA_CACHE_DIR), so that only the first start of an installation pays for it: a few seconds.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def native(function: Callable[P, R]) -> Callable[P, R]:
    """The function compiled: IEEE arithmetic in the order written, so results are those of the same loops in Python.

    Indices are not checked: who calls it has made sure that they lie inside.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Callable[P, R] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep it: a container's disk that cannot be written
        compiled = numba.njit(**options)(function)
    return compiled
