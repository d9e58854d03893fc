"""Names by their bytes: a user's history becomes item numbers without a Python string.

An open hash table of 64-bit hashes beside the bytes of the ids, as Arrow holds them. A history's places are fetched together
before the first is looked at: one by one, three hundred places of a large table cost a wait for the memory each.

Source of the hash: Fowler, Noll & Vo, FNV-1a, RFC 9923.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.native.compiler import native, prefetch
from components.native.hash_table import VACANT
from feature_repo.packed_strings import PackedStrings

FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
FIELD, MORE, SEVEN_BITS = 0x0A, 0x80, 0x7F
"""Of protocol buffers: what stands before each string, a byte of a length that is not its last, and what it carries."""
UNREADABLE = -2


@dataclass(frozen=True, slots=True)
class IdIndex:
    """Where each of some distinct ids stands.

    Attributes:
        slots: Hash and place, VACANT where there is none, shape (a power of two, 2).
        starts: Of each id in `characters`, and the end of the last, shape (n + 1,).
        characters: UTF-8 of all ids.
    """

    slots: NDArray[np.int64]
    starts: NDArray[np.int64]
    characters: NDArray[np.uint8]

    @classmethod
    def of(cls, item_ids: pa.ChunkedArray) -> Self:
        """Of distinct ids, none null."""
        ids = item_ids.cast(pa.large_string()).combine_chunks()
        _, offsets, characters = ids.buffers()
        starts = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
        own = np.frombuffer(characters or b"", np.uint8)
        return cls(_filled(starts, own), starts, own)

    def places_of(self, ids: PackedStrings) -> NDArray[np.int32] | None:
        """The place of each id, shape (n,), -1 where the index has none; None where the content cannot be read here."""
        content = np.frombuffer(ids.content, np.uint8)
        places = _places_of(content, len(ids), self.slots, self.starts, self.characters)
        return None if len(places) and places[0] == UNREADABLE else places


@native
def _hash_of(characters: NDArray[np.uint8], start: int, stop: int) -> np.int64:
    found = FNV_OFFSET
    for place in range(start, stop):
        found = (found ^ np.uint64(characters[place])) * FNV_PRIME
    return np.int64(found ^ (found >> np.uint64(32)))


@native
def _filled(starts: NDArray[np.int64], characters: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The table, at most half full."""
    places = 16
    while places < 2 * len(starts):
        places *= 2
    slots = np.full((places, 2), np.int64(VACANT))
    for place in range(len(starts) - 1):
        key = _hash_of(characters, starts[place], starts[place + 1])
        slot = key & (places - 1)
        while slots[slot, 1] != VACANT:
            slot = (slot + 1) & (places - 1)
        slots[slot, 0], slots[slot, 1] = key, place
    return slots


@native
def _places_of(
    content: NDArray[np.uint8],
    count: int,
    slots: NDArray[np.int64],
    starts: NDArray[np.int64],
    characters: NDArray[np.uint8],
) -> NDArray[np.int32]:
    found, begins, ends = np.full(count, np.int32(UNREADABLE)), np.empty(count, np.int64), np.empty(count, np.int64)
    if not _are_found(content, begins, ends):
        return found
    keys, mask = np.empty(count, np.int64), len(slots) - 1
    for place in range(count):
        keys[place] = _hash_of(content, begins[place], ends[place])
        prefetch(slots, 2 * (keys[place] & mask))
    for place in range(count):
        prefetch(starts, slots[keys[place] & mask, 1])
    for place in range(count):
        num = slots[keys[place] & mask, 1]
        if num != VACANT:
            prefetch(characters, starts[num])
    for place in range(count):
        found[place] = _place_of(content, begins[place], ends[place], keys[place], slots, starts, characters)
    return found


@native
def _are_found(content: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
    """Where each string begins and ends; whether the content is so many strings and nothing else."""
    place = 0
    for number in range(len(begins)):
        if place >= len(content) or content[place] != FIELD:
            return False
        place, shift, size = place + 1, 0, np.int64(0)
        while place < len(content) and content[place] >= MORE and shift < 28:
            size |= (np.int64(content[place]) & SEVEN_BITS) << shift
            place, shift = place + 1, shift + 7
        if place >= len(content) or content[place] >= MORE:
            return False
        size |= np.int64(content[place]) << shift
        begins[number], ends[number] = place + 1, place + 1 + size
        place = int(ends[number])
    return place == len(content)


@native
def _place_of(
    content: NDArray[np.uint8],
    begin: int,
    end: int,
    key: np.int64,
    slots: NDArray[np.int64],
    starts: NDArray[np.int64],
    characters: NDArray[np.uint8],
) -> np.int64:
    slot = key & (len(slots) - 1)
    while slots[slot, 1] != VACANT:
        num = slots[slot, 1]
        if slots[slot, 0] == key and starts[num + 1] - starts[num] == end - begin:
            place = 0
            while place < end - begin and characters[starts[num] + place] == content[begin + place]:
                place += 1
            if place == end - begin:
                return np.int64(num)
        slot = (slot + 1) & (len(slots) - 1)
    return np.int64(VACANT)
