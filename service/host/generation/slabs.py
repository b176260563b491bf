"""Which text has which room of which slab. It knows slots and lengths; what lies in the rooms is for others to copy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.host.generation.rooms import rooms_in_slab

Kept = TypeVar("Kept")


@dataclass(slots=True, eq=False)
class Slab(Generic[Kept]):
    """Rooms of `room` positions each. The first ones are those of the texts in `slots`; `kept` is what each of the
    model's layers has there, once it has."""

    room: int
    slots: list[int] = field(default_factory=list[int])
    kept: dict[int, Kept] = field(default_factory=dict[int, Kept])

    @property
    def rooms(self) -> int:
        return rooms_in_slab(self.room)

    @property
    def positions(self) -> int:
        return self.rooms * self.room

    @property
    def is_full(self) -> bool:
        return len(self.slots) == self.rooms


@dataclass(frozen=True, slots=True)
class Place(Generic[Kept]):
    """The room `index` of a slab."""

    slab: Slab[Kept]
    index: int


class Slabs(Generic[Kept]):
    """Of rooms of one length, all slabs are full but the last one that has any text. Those that have none are kept for
    others until they are dropped."""

    def __init__(self) -> None:
        self._by_room: dict[int, list[Slab[Kept]]] = {}
        self._places: dict[int, Place[Kept]] = {}

    @property
    def used(self) -> Iterator[Slab[Kept]]:
        """Those that have texts."""
        return (slab for slabs in self._by_room.values() for slab in slabs if slab.slots)

    @property
    def positions(self) -> int:
        """Of all, empty ones included."""
        return sum(slab.positions for slabs in self._by_room.values() for slab in slabs)

    def place_of(self, slot: int) -> Place[Kept] | None:
        return self._places.get(slot)

    def has_room(self, room: int) -> bool:
        """Whether a room of this length is free."""
        return any(not slab.is_full for slab in self._by_room.get(room, ()))

    def take(self, slot: int, room: int) -> Place[Kept]:
        """A room of this length for the text in `slot`, which has none."""
        slabs = self._by_room.setdefault(room, [])
        slab = next((slab for slab in slabs if not slab.is_full), None)
        if slab is None:
            slab = Slab(room)
            slabs.append(slab)
        place = self._places[slot] = Place(slab, len(slab.slots))
        slab.slots.append(slot)
        return place

    def give(self, slot: int) -> tuple[Place[Kept], Place[Kept]] | None:
        """Take the room of the text in `slot` away. Returns the place whose text moves into it, and where that is; None
        where none has to."""
        hole = self._places.pop(slot)
        last = next(slab for slab in reversed(self._by_room[hole.slab.room]) if slab.slots)
        source = Place(last, len(last.slots) - 1)
        moved = last.slots.pop()
        if moved == slot:
            return None
        hole.slab.slots[hole.index] = moved
        self._places[moved] = hole
        return source, hole

    def rename(self, names: Mapping[int, int]) -> None:
        """Texts in these slots are in others now; each that has a room keeps it."""
        places = [(slot, self._places.pop(old)) for old, slot in names.items() if old in self._places]
        for slot, place in places:
            place.slab.slots[place.index] = slot
            self._places[slot] = place

    def drop_empty(self) -> None:
        for room, slabs in list(self._by_room.items()):
            self._by_room[room] = [slab for slab in slabs if slab.slots]
            if not self._by_room[room]:
                del self._by_room[room]
