from dataclasses import dataclass

from service.host.generation.schedule import CHUNK, Schedule, room_for, rows_for


@dataclass(eq=False)
class Text:
    name: str
    prompt_length: int = 5
    most_positions: int = 20
    computed: int = 0
    alone: bool = False
    team: str = "default"


def running(schedule: Schedule[Text]) -> str:
    return "".join(text.name for text in schedule.running)


def texts(names: str, **how: int | bool | str) -> list[Text]:
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
    assert schedule.first_to_yield is third
    assert schedule.put_back(third) is None
    assert schedule.first_to_yield is second
    assert schedule.admit() == ()
    schedule.remove(first)
    assert schedule.admit() == (third,)
    schedule.remove(third)
    assert schedule.first_to_yield is None


def test_a_team_with_many_waiting_texts_does_not_stop_anothers_first() -> None:
    schedule: Schedule[Text] = Schedule(2)
    schedule.add(texts("abcdef", team="A"))
    schedule.admit()
    schedule.add(texts("xy", team="B"))
    begun = ""
    while schedule.running:
        schedule.remove(schedule.running[0])
        begun += "".join(text.name for text in schedule.admit())
    assert begun == "cxdyef"


def test_while_texts_wait_only_those_of_other_teams_may_join_them_one_by_one() -> None:
    schedule: Schedule[Text] = Schedule(2)
    assert schedule.room == 2
    schedule.add(texts("abc", team="A"))
    schedule.admit()
    assert schedule.room == 1
    assert set(schedule.waiting_teams) == {"A"}
    schedule.add(texts("x", team="B"))
    assert set(schedule.waiting_teams) == {"A", "B"}
    schedule.remove(schedule.all[-1])
    schedule.remove(schedule.running[0])
    schedule.admit()
    assert not schedule.waiting_teams
    assert schedule.room == 0


def test_the_chunks_of_steps_go_round_the_teams() -> None:
    schedule: Schedule[Text] = Schedule(8)
    schedule.add([*texts("ab", team="A", prompt_length=3 * CHUNK), *texts("x", team="B", prompt_length=2 * CHUNK)])
    schedule.admit()
    read = ""
    while chunk := schedule.next_chunk():
        read += chunk.sequence.name
        chunk.sequence.computed = chunk.end
    assert read == "axaxabbb"


def test_the_team_that_uses_most_gives_a_slot_back_first() -> None:
    schedule: Schedule[Text] = Schedule(8)
    busy, quiet = texts("abc", team="A"), texts("x", team="B", most_positions=50)
    schedule.add([*busy, *quiet])
    schedule.admit()
    assert schedule.first_to_yield is busy[2]
    schedule.put_back(busy[2])
    assert schedule.first_to_yield is quiet[0]


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
