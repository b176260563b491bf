"""How much memory the keys and values of texts take: each text has a room as long as it is, not as the longest one is.

Rooms of one length lie together in slabs of a fixed size, so that memory is taken and given back in one measure. Pure
Python: it sees lengths, never tensors.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

BLOCK: Final = 64
"""Positions. A room has a multiple of it."""
SLAB: Final = 512
"""Positions. A slab has as many rooms as these are enough for; a longer room has one of its own."""
ROOMS_OF_OCTAVE: Final = 4
"""Between a length and its double there are so many lengths of rooms: none is more than a quarter longer than it must
be, but for the shortest."""


def room_for(length: int) -> int:
    """How many positions the room of a text of `length` has."""
    return -(-length // _step_to(length)) * _step_to(length)


def rooms_in_slab(room: int) -> int:
    return max(1, SLAB // room)


def positions_of(lengths: Iterable[int]) -> int:
    """Of the slabs that hold texts of these `lengths`."""
    counts = Counter(map(room_for, lengths))
    return sum(-(-count // rooms_in_slab(room)) * rooms_in_slab(room) * room for room, count in counts.items())


def most_positions_of(length: int, count: int = 1) -> int:
    """The most that `count` texts ever take on their way to this `length`."""
    return max(SLAB, positions_of([length] * count))


def longest_within(positions: int) -> int:
    """The longest room of a text that so many positions suffice for."""
    return positions // _step_to(positions) * _step_to(positions) if positions >= SLAB else 0


def _step_to(length: int) -> int:
    """By which rooms of about this length differ."""
    return max(BLOCK, (1 << (length - 1).bit_length()) // (2 * ROOMS_OF_OCTAVE))
