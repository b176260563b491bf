from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.host.generation.slabs import Slabs

ROOMS = (64, 128, 512, 640)


def test_a_room_that_is_given_back_goes_to_the_last_text_of_its_length() -> None:
    slabs: Slabs[Any] = Slabs()
    for slot in range(6):
        slabs.take(slot, 128)
    move = slabs.give(1)
    assert move is not None
    source, hole = move
    assert (source.index, hole.index) == (1, 1)
    assert [slab.slots for slab in slabs.used] == [[0, 5, 2, 3], [4]]
    assert slabs.place_of(5) == hole


def test_empty_slabs_stay_until_they_are_dropped() -> None:
    slabs: Slabs[Any] = Slabs()
    slabs.take(0, 64)
    slabs.give(0)
    assert slabs.positions == 512
    assert not list(slabs.used)
    slabs.drop_empty()
    assert slabs.positions == 0


def test_two_texts_change_slots_without_changing_rooms() -> None:
    slabs: Slabs[Any] = Slabs()
    short, long = slabs.take(0, 64), slabs.take(1, 640)
    slabs.rename({0: 1, 1: 0, 2: 3})
    assert (slabs.place_of(0), slabs.place_of(1)) == (long, short)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(ROOMS))))
def test_each_text_has_a_room_of_its_own_and_full_slabs_come_first(steps: list[tuple[int, int]]) -> None:
    slabs: Slabs[Any] = Slabs()
    rooms: dict[int, int] = {}
    for slot, room in steps:
        if slot in rooms:
            slabs.give(slot)
            del rooms[slot]
        else:
            slabs.take(slot, room)
            rooms[slot] = room
        places = {slot: slabs.place_of(slot) for slot in rooms}
        assert all(
            place is not None and place.slab.room == rooms[slot] and place.slab.slots[place.index] == slot
            for slot, place in places.items()
        )
        for length in ROOMS:
            own = [slab for slab in slabs.used if slab.room == length]
            assert all(slab.is_full for slab in own[:-1])
            assert sum(len(slab.slots) for slab in own) == list(rooms.values()).count(length)
