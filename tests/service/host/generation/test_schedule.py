from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from service.host.generation.rooms import SLAB
from service.host.generation.schedule import CHUNK, FEWEST_TOKENS, Schedule, rows_for, tokens_for


@dataclass(eq=False)
class Text:
    name: str
    prompt_length: int = 5
    most_positions: int = 20
    computed: int = 0
    alone: bool = False
    team: str = "default"
    drawn: int = 0

    @property
    def known_length(self) -> int:
        return self.prompt_length + self.drawn


def running(schedule: Schedule[Text]) -> str:
    return "".join(text.name for text in schedule.running)


def texts(names: str, **how: int | bool | str) -> list[Text]:
    return [Text(name, **how) for name in names]  # pyright: ignore[reportArgumentType] - each has its own type


def read(schedule: Schedule[Text]) -> str:
    """Compute the chunks of one step."""
    chunks = schedule.next_chunks()
    for chunk in chunks:
        chunk.sequence.computed = chunk.end
        if chunk.end == chunk.sequence.prompt_length:
            schedule.end_reading(chunk.sequence)
    return "".join(chunk.sequence.name for chunk in chunks)


def test_the_rows_of_a_step_are_a_multiple_of_four() -> None:
    assert [rows_for(count) for count in (0, 1, 4, 5, 8, 9, 33, 64)] == [4, 4, 4, 8, 8, 12, 36, 64]


def test_a_chunk_is_filled_up_to_one_of_a_few_lengths() -> None:
    lengths = [tokens_for(count) for count in range(1, CHUNK + 1)]
    assert sorted(set(lengths)) == [8, 16, 24, 32, 48, 64, 96, 128]
    assert all(count <= length < count + max(FEWEST_TOKENS, count / 2) for count, length in enumerate(lengths, 1))


def test_texts_begin_in_their_order_as_slots_are_free() -> None:
    schedule: Schedule[Text] = Schedule(2)
    first, second, third = waiting = texts("abc")
    schedule.add(waiting)
    assert schedule.admit() == (first, second)
    schedule.remove(first)
    assert schedule.admit() == (third,)


def test_a_text_that_ends_is_replaced_by_the_last_one() -> None:
    schedule: Schedule[Text] = Schedule(8)
    first, *_, last = waiting = texts("abcd")
    schedule.add(waiting)
    schedule.admit()
    assert schedule.remove(first) == ((3, 0),)
    assert running(schedule) == "dbc"
    assert schedule.remove(schedule.running[2]) == ()
    assert schedule.remove(last) == ((1, 0),)


def test_texts_that_decode_have_the_first_slots() -> None:
    schedule: Schedule[Text] = Schedule(8)
    schedule.add([*texts("ab"), *texts("cd", prompt_length=3 * CHUNK), *texts("ef")])
    schedule.admit()
    assert read(schedule) == "abef"
    assert running(schedule) == "abefcd"
    assert "".join(text.name for text in schedule.decoding) == "abef"
    assert schedule.remove(schedule.running[1]) == ((3, 1), (5, 3))
    assert running(schedule) == "afedc"
    assert "".join(text.name for text in schedule.decoding) == "afe"


def test_a_prompt_that_is_read_before_earlier_ones_changes_places() -> None:
    schedule: Schedule[Text] = Schedule(8)
    long, *_, short = waiting = [*texts("ab", prompt_length=3 * CHUNK), *texts("c")]
    schedule.add(waiting)
    schedule.admit()
    assert schedule.end_reading(short) == (2, 0)
    assert running(schedule) == "cba"
    assert schedule.end_reading(long) == (2, 1)
    assert schedule.decoding == (short, long)


def test_a_prompt_is_read_in_chunks_that_end_at_fixed_positions() -> None:
    schedule: Schedule[Text] = Schedule(8)
    (text,) = waiting = texts("a", prompt_length=2 * CHUNK + 3)
    schedule.add(waiting)
    schedule.admit()
    chunks: list[tuple[int, int]] = []
    while chosen := schedule.next_chunks():
        ((start, end),) = [(chunk.start, chunk.end) for chunk in chosen]
        chunks.append((start, end))
        text.computed = end
        if end == text.prompt_length:
            schedule.end_reading(text)
    assert chunks == [(0, CHUNK), (CHUNK, 2 * CHUNK), (2 * CHUNK, 2 * CHUNK + 3)]


def test_prompts_are_only_then_decoded_when_all_of_them_is_read() -> None:
    schedule: Schedule[Text] = Schedule(8)
    schedule.add([*texts("a", prompt_length=CHUNK + 1), *texts("b")])
    schedule.admit()
    assert schedule.decoding == ()
    assert [read(schedule) for _ in range(4)] == ["a", "a", "b", ""]
    assert running(schedule) == "ab"


def test_chunks_of_one_shape_are_read_together_up_to_the_chunks_tokens() -> None:
    schedule: Schedule[Text] = Schedule(64)
    schedule.add([*texts("a", prompt_length=30), *texts("x"), *texts("bcdef", prompt_length=25)])
    schedule.admit()
    assert [read(schedule) for _ in range(3)] == ["abcd", "x", "ef"]


def test_prompts_are_read_one_by_one_where_they_do_not_stay_apart() -> None:
    schedule: Schedule[Text] = Schedule(8)
    schedule.reads_together = False
    schedule.add(texts("abc"))
    schedule.admit()
    assert [read(schedule) for _ in range(3)] == ["a", "b", "c"]


def test_texts_begin_by_what_they_have_not_by_all_they_may_get() -> None:
    schedule: Schedule[Text] = Schedule(64, max_positions=8 * SLAB)
    waiting = texts("abcdefghijklmnopqrstuvwxyz", most_positions=SLAB)
    schedule.add(waiting)
    assert len(schedule.admit()) == 26
    assert schedule.needed == 4 * SLAB
    assert schedule.expected == 7 * SLAB


def test_a_text_waits_until_it_fits_beside_the_others() -> None:
    schedule: Schedule[Text] = Schedule(64, max_positions=2 * SLAB)
    small, large, late = waiting = [
        Text("s"),
        Text("l", prompt_length=2 * SLAB - 1, most_positions=2 * SLAB),
        Text("t"),
    ]
    schedule.add(waiting)
    assert schedule.fits(2 * SLAB)
    assert not schedule.fits(2 * SLAB + 1)
    assert schedule.longest == 2 * SLAB
    assert schedule.admit() == (small,)
    schedule.remove(small)
    assert schedule.admit() == (large,)
    schedule.remove(large)
    assert schedule.admit() == (late,)


def test_the_youngest_gives_its_slot_back_where_texts_outgrow_the_room() -> None:
    schedule: Schedule[Text] = Schedule(8, max_positions=SLAB)
    old, *_, young = waiting = texts("abcd", most_positions=200)
    schedule.add([*waiting, *texts("e")])
    assert schedule.admit() == tuple(waiting)
    assert schedule.overdrawn is None
    old.computed = 128
    assert schedule.overdrawn is young


def test_who_gave_a_slot_back_returns_before_anyone_else_begins() -> None:
    schedule: Schedule[Text] = Schedule(4)
    first, second, third, fourth = texts("abcd")
    schedule.add([first, second, third, fourth])
    schedule.admit()
    schedule.add(texts("x", team="other"))
    schedule.put_back(fourth)
    schedule.put_back(third)
    assert schedule.admit() == ()
    schedule.remove(second)
    assert "".join(text.name for text in schedule.admit()) == "cdx"


def test_what_waits_to_return_counts_as_its_teams() -> None:
    schedule: Schedule[Text] = Schedule(2)
    first, second = waiting = texts("ab", team="A")
    schedule.add(waiting)
    schedule.admit()
    schedule.put_back(second)
    assert (set(schedule.waiting_teams), schedule.room, schedule.all) == ({"A"}, 1, (first, second))
    schedule.remove(second)
    assert (set(schedule.waiting_teams), schedule.room, schedule.all) == (set(), 1, (first,))


TEXTS = st.tuples(st.integers(1, 300), st.integers(1, 300), st.sampled_from("ABC"), st.integers(0, 40))
"""Tokens of the prompt and of the answer, a team, and before which step it arrives."""


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXTS, max_size=12), st.integers(2, 4))
def test_every_text_ends_whoever_is_beside_it_and_memory_suffices(
    asked: list[tuple[int, int, str, int]], slabs: int
) -> None:
    schedule: Schedule[Text] = Schedule(8, max_positions=slabs * SLAB)
    arriving = [
        (step, Text(f"{place}", prompt, prompt + answer, team=team))
        for place, (prompt, answer, team, step) in enumerate(asked)
    ]
    left, steps = len(asked), 0
    while left:
        schedule.add(text for step, text in arriving if step == steps)
        while (yielding := schedule.overdrawn) is not None:
            oldest = min(schedule.running, key=schedule.age_of)
            schedule.put_back(yielding)
            assert yielding is not oldest
            yielding.computed = 0
        schedule.admit()
        assert len(schedule.running) <= 1 or schedule.needed <= slabs * SLAB
        read(schedule)
        for text in schedule.decoding:
            if text.computed == text.known_length:
                text.drawn += 1
            text.computed += 1
            if text.computed == text.most_positions:
                schedule.remove(text)
                left -= 1
        steps += 1
        assert steps <= 40 + sum(prompt // CHUNK + 2 + answer for prompt, answer, *_ in asked)


def test_texts_that_began_last_lose_their_slots_first() -> None:
    schedule: Schedule[Text] = Schedule(8)
    first, second, third = waiting = texts("abc")
    schedule.add(waiting)
    schedule.admit()
    assert schedule.first_to_yield is third
    assert schedule.put_back(third) == ()
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
    assert [read(schedule) for _ in range(8)] == [*"axaxabbb"]


def test_a_quiet_teams_prompt_is_read_before_a_busy_ones_many() -> None:
    schedule: Schedule[Text] = Schedule(64)
    schedule.add(texts("abcd", team="A", prompt_length=CHUNK // 2))
    schedule.admit()
    assert read(schedule) == "ab"
    schedule.add(texts("x", team="B", prompt_length=CHUNK // 2))
    schedule.admit()
    assert [read(schedule) for _ in range(2)] == ["xc", "d"]


def test_the_team_that_uses_most_gives_a_slot_back_first() -> None:
    schedule: Schedule[Text] = Schedule(8)
    busy, quiet = texts("abc", team="A"), texts("x", team="B", most_positions=50)
    schedule.add([*busy, *quiet])
    schedule.admit()
    assert schedule.first_to_yield is busy[2]
    schedule.put_back(busy[2])
    assert schedule.first_to_yield is quiet[0]


def test_the_oldest_text_gives_nothing_back() -> None:
    schedule: Schedule[Text] = Schedule(8)
    oldest, young = Text("a", most_positions=5000, team="A"), Text("x", team="B")
    schedule.add([oldest, young])
    schedule.admit()
    assert schedule.first_to_yield is young


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
