"""Functions of plain loops over arrays, compiled to machine code by Numba when they are first called.

What is compiled is kept on the disk where a folder can be written (beside the module, else in the user's cache, or in
NUMBA_CACHE_DIR), so that only the first start of an installation pays for it: a few seconds.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")


def native(function: Callable[P, R]) -> Callable[P, R]:
    """The function compiled: IEEE arithmetic in the order written, so results are those of the same loops in Python.

    Indices are not checked: who calls it has made sure that they lie inside. The interpreter is not released: a call takes
    microseconds, and to get it back from another thread milliseconds.
    """
    try:
        compiled: Callable[P, R] = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # nowhere to keep it: a container's disk that cannot be written
        compiled = numba.njit(error_model="numpy")(function)
    return compiled


@intrinsic  # type: ignore[untyped-decorator]  # numba publishes no types
def prefetch(_context, array, place) -> Any:  # type: ignore[no-untyped-def]  # numba's types and values, at compile time
    """Begin to fetch array[place] into the processor's caches, where it may lie outside of the array: nothing is read."""
    del place
    signature = types.void(array, types.intp)

    def generate(context: Any, builder: Any, types_: Any, values: Any) -> Any:
        pointer = builder.gep(context.make_array(types_.args[0])(context, builder, values[0]).data, [values[1]])
        line = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [line, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [builder.bitcast(pointer, line), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return signature, generate
