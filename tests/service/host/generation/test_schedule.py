from dataclasses import dataclass

from service.host.generation.schedule import CHUNK, Schedule, room_for, rows_for


@dataclass(eq=False)
class Text:
    name: str
    prompt_length: int = 5
    most_positions: int = 20
    computed: int = 0
    alone: bool = False


def running(schedule: Schedule[Text]) -> str:
    return "".join(text.name for text in schedule.running)


def texts(names: str, **how: int | bool) -> list[Text]:
    return [Text(name, **how) for name in names]  # pyright: ignore[reportArgumentType] - each has its own type


def test_a_step_has_one_of_a_few_row_counts() -> None:
    assert [rows_for(count) for count in (1, 4, 5, 8, 9, 17, 33, 64)] == [4, 4, 8, 8, 16, 32, 64, 64]


def test_slots_grow_by_doubling() -> None:
    assert [room_for(length) for length in (1, 128, 129, 1000)] == [128, 128, 256, 1024]


def test_texts_begin_in_their_order_as_slots_are_free() -> None:
    schedule: Schedule[Text] = Schedule(2)
    first, second, third = waiting = texts("abc")
    schedule.add(waiting)
    assert schedule.admit() == (first, second)
    assert schedule.room == 0
    schedule.remove(first)
    assert schedule.admit() == (third,)


def test_who_ends_is_replaced_by_the_last_one() -> None:
    schedule: Schedule[Text] = Schedule(8)
    first, *_, last = waiting = texts("abcd")
    schedule.add(waiting)
    schedule.admit()
    assert schedule.remove(first) == (3, 0)
    assert running(schedule) == "dbc"
    assert schedule.remove(schedule.running[2]) is None
    assert schedule.remove(last) == (1, 0)


def test_a_prompt_is_read_in_chunks_that_end_at_fixed_positions() -> None:
    schedule: Schedule[Text] = Schedule(8)
    (text,) = waiting = texts("a", prompt_length=2 * CHUNK + 3)
    schedule.add(waiting)
    schedule.admit()
    chunks: list[tuple[int, int]] = []
    while chunk := schedule.next_chunk():
        chunks.append((chunk.start, chunk.end))
        text.computed = chunk.end
    assert chunks == [(0, CHUNK), (CHUNK, 2 * CHUNK), (2 * CHUNK, 2 * CHUNK + 3)]


def test_prompts_are_read_one_after_another_and_only_then_decoded() -> None:
    schedule: Schedule[Text] = Schedule(8)
    first, second = waiting = texts("ab")
    schedule.add(waiting)
    schedule.admit()
    chunk = schedule.next_chunk()
    assert chunk is not None
    assert chunk.sequence is first
    assert schedule.decoding == ()
    first.computed = 5
    chunk = schedule.next_chunk()
    assert chunk is not None
    assert (chunk.sequence, chunk.slot) == (second, 1)
    assert schedule.decoding == (first,)


def test_a_text_waits_until_its_most_positions_fit_beside_the_others() -> None:
    schedule: Schedule[Text] = Schedule(64, max_positions=8 * 128)
    small, large, late = waiting = [Text("s"), Text("l", most_positions=400), Text("t")]
    schedule.add(waiting)
    assert schedule.fits(256)
    assert not schedule.fits(257)
    assert schedule.longest == 256
    assert schedule.admit() == (small,)
    schedule.remove(small)
    assert schedule.admit() == (large,)
    schedule.remove(large)
    assert schedule.admit() == (late,)


def test_texts_that_began_last_lose_their_slots_first() -> None:
    schedule: Schedule[Text] = Schedule(8)
    first, second, third = waiting = texts("abc")
    schedule.add(waiting)
    schedule.admit()
    assert schedule.youngest is third
    assert schedule.put_back(third) is None
    assert schedule.youngest is second
    assert schedule.admit() == ()
    schedule.remove(first)
    assert schedule.admit() == (third,)
    schedule.remove(third)
    assert schedule.youngest is None


def test_one_that_is_alone_shares_no_step() -> None:
    schedule: Schedule[Text] = Schedule(8)
    first, lone, last = waiting = [Text("a"), Text("b", alone=True), Text("c")]
    schedule.add(waiting)
    assert schedule.admit() == (first,)
    schedule.remove(first)
    assert schedule.admit() == (lone,)
    assert schedule.admit() == ()
    schedule.remove(lone)
    assert schedule.admit() == (last,)
