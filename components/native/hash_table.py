"""Where whole numbers stand in an array: an open hash table, for compiled loops over some hundred of them.

A table holds places in an array of distinct numbers, VACANT where it holds none. It fits into a processor's first cache, where
a search in a sorted array mispredicts a branch a step.
"""

import numpy as np
from numpy.typing import NDArray

from components.native.compiler import native

VACANT = -1
KNUTH, SHIFT = 2_654_435_761, 12
"""Multiplicative hashing: neighbouring numbers are spread, and the upper bits of a product are the mixed ones."""


@native
def empty_table(size: int) -> NDArray[np.int32]:
    """A table for at most `size` numbers: a power of two that leaves most places empty."""
    places = 16
    while places < 4 * size:
        places *= 2
    return np.full(places, np.int32(VACANT))


@native
def slot_of(number: int, table: NDArray[np.int32], numbers: NDArray[np.int32]) -> int:
    """Place in the table that holds a number's place in `numbers`, or would hold it."""
    slot = (number * KNUTH >> SHIFT) & (len(table) - 1)
    while table[slot] != VACANT and numbers[table[slot]] != number:
        slot = (slot + 1) & (len(table) - 1)
    return slot


@native
def table_of(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """The table of an array; of equal numbers the first counts."""
    table = empty_table(len(numbers))
    for place in range(len(numbers)):
        slot = slot_of(numbers[place], table, numbers)
        if table[slot] == VACANT:
            table[slot] = place
    return table
