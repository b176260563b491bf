from service.host.generation.rooms import (
    BLOCK,
    SLAB,
    longest_within,
    most_positions_of,
    positions_of,
    room_for,
    rooms_in_slab,
)


def test_rooms_have_few_lengths_close_to_those_of_their_texts() -> None:
    rooms = {length: room_for(length) for length in range(1, 4097)}
    assert sorted(set(rooms.values()))[:12] == [64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024]
    assert all(length <= room < max(length + BLOCK, 1.25 * length) for length, room in rooms.items())
    assert all(room_for(room) == room for room in rooms.values())


def test_a_slab_has_as_many_rooms_as_it_is_long_enough_for() -> None:
    assert [rooms_in_slab(room) for room in (64, 128, 192, 512, 1024)] == [8, 4, 2, 1, 1]


def test_a_long_text_takes_no_more_for_the_short_ones_beside_it() -> None:
    assert positions_of([]) == 0
    assert positions_of([1]) == SLAB
    assert positions_of([60] * 8) == SLAB
    assert positions_of([60] * 9) == 2 * SLAB
    assert positions_of([60] * 9 + [2000]) == 2 * SLAB + 2048


def test_the_longest_text_is_as_long_as_a_room_that_fits() -> None:
    assert [longest_within(positions) for positions in (511, 512, 700, 2047, 2048)] == [0, 512, 640, 1792, 2048]
    assert all(most_positions_of(longest_within(positions)) <= positions for positions in range(512, 5000, 7))


def test_on_its_way_a_text_may_take_more_than_at_its_end() -> None:
    assert most_positions_of(320) == SLAB
    assert most_positions_of(100, 5) == 2 * SLAB
