"""Lists of strings as an online store holds them, for readers who may need none of the strings."""

from collections.abc import Iterator, Sequence
from typing import overload


class PackedStrings(Sequence[str]):
    """A list of strings that become Python's where they are read, each time.

    Three hundred ids take 40 us to make and as long to hash; who has an index of their bytes needs neither.

    Attributes:
        content: Protocol buffer StringList: each string behind the byte 0x0A and its length as a varint.
    """

    __slots__ = ("_values", "content")

    def __init__(self, content: bytes, values: Sequence[str]) -> None:
        """From the message and what protobuf makes of it, which makes a string where it is asked for one."""
        self.content, self._values = content, values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        return list(self._values[place]) if isinstance(place, slice) else self._values[place]

    def __eq__(self, other: object) -> bool:
        """Equal to any list of the same strings."""
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.content)

    def __repr__(self) -> str:
        return repr(list(self))
