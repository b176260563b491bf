"""Texts that share steps, as a caller sees them. Nothing is timed: a step is held where something must happen in it."""

from collections.abc import Sequence
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from engines import TIMEOUT_S, eventually
from torch import Tensor
from writing import WritingHost

from models_registry.errors import Conflict, DeadlinePassed, Invalid, Unavailable
from models_registry.inputs.values import Inputs
from service.host.generation import engine, schedule
from service.host.generation.stepper import Stepper
from service.protocol.stats import TextStats
from service.protocol.texts import TextPart
from service.protocol.types import BASE, HostAnswer, HostLimits, InferCall, Selection
from tests.service.host.generation.steps import PROMPTS, Steps

LENGTHS = (4, 12, 7, 9, 2, 15)


def test_texts_that_share_steps_are_those_that_each_is_alone(
    writing: WritingHost, adapters: tuple[Selection, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(place: int) -> Future[HostAnswer]:
        own = (adapters[place % len(adapters)],)
        return writing.ask(PROMPTS[place], adapters=own, max_new_tokens=LENGTHS[place])

    alone = [ask(place).result(TIMEOUT_S) for place in range(len(PROMPTS))]
    steps = Steps(monkeypatch)
    first = ask(0)
    steps.wait_for_one()
    others = [ask(place) for place in range(1, len(PROMPTS))]
    writing.wait_for(len(others))
    steps.let_go()
    together = [asked.result(TIMEOUT_S) for asked in (first, *others)]
    assert [answer.outputs for answer in together] == [answer.outputs for answer in alone]
    assert [answer.texts for answer in together] == [answer.texts for answer in alone]
    assert max(steps.rows) > len(PROMPTS) // 2


def test_rows_of_one_request_have_their_own_adapters(writing: WritingHost, adapters: tuple[Selection, ...]) -> None:
    together = writing.write(*PROMPTS[:4], adapters=adapters, max_new_tokens=6)
    each = [writing.write(PROMPTS[row], adapters=(adapters[row],), max_new_tokens=6) for row in range(4)]
    assert together == tuple(text for (text,) in each)
    assert len({writing.write("a b", adapters=(one,), max_new_tokens=6) for one in adapters}) > 1


def test_a_text_begins_beside_one_that_is_being_written(writing: WritingHost, steps: Steps) -> None:
    long = writing.ask("a b c", max_new_tokens=20)
    steps.wait_for_one()
    short = writing.ask("d e", max_new_tokens=2)
    writing.wait_for(1)
    steps.let_go()
    short.result(TIMEOUT_S)
    long.result(TIMEOUT_S)
    assert 2 in steps.rows
    assert steps.rows[-1] == 1


def test_a_request_with_many_texts_does_not_hold_up_another_teams_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = WritingHost(tmp_path, HostLimits("cpu", max_batch_rows=4))
    writing.write("a", max_new_tokens=1)  # the proof has decoded by then
    steps = Steps(monkeypatch)
    long = [writing.ask(text, team="busy", max_new_tokens=60, ignore_eos=True) for text in ("a", "b", "c")]
    steps.wait_for_one()
    ended = list[str]()
    many = writing.ask(*"defg", team="busy", max_new_tokens=3, ignore_eos=True)
    many.add_done_callback(lambda _: ended.append("busy"))
    one = writing.ask("h", team="quiet", max_new_tokens=5, ignore_eos=True)
    one.add_done_callback(lambda _: ended.append("quiet"))
    eventually(lambda: writing.host._live.batcher.stats.rows >= 5)  # pyright: ignore[reportPrivateUsage]
    steps.let_go()
    eventually(lambda: len(ended) == 2)
    assert ended == ["quiet", "busy"]
    for asked in long:
        asked.cancel()
    writing.host.end(Conflict("the test is over"))


def test_an_operator_sees_how_many_texts_run_and_what_they_take(writing: WritingHost, steps: Steps) -> None:
    before, seen = writing.engine.stats, list[TextStats]()
    steps.fail = lambda ids, positions: seen.append(writing.engine.stats)
    asked = writing.ask("a b c", "d e", max_new_tokens=4)
    steps.let_go()
    asked.result(TIMEOUT_S)
    eventually(lambda: writing.engine.stats.running == 0)
    assert max(figures.running for figures in seen) == 2
    assert all(0 < figures.cache_bytes <= figures.max_cache_bytes for figures in seen[1:])
    after = writing.host.status().result(TIMEOUT_S).stats.texts
    assert (after.prompt_tokens - before.prompt_tokens, after.tokens - before.tokens) == (5, 8)


def test_parts_are_sent_while_the_text_is_written(writing: WritingHost, steps: Steps) -> None:
    parts: list[TextPart] = []
    asked = writing.ask("a b c", on_part=parts.append, max_new_tokens=5)
    steps.wait_for_one()
    assert len(parts) == 1
    assert not asked.done()
    steps.let_go()
    (text,) = asked.result(TIMEOUT_S).outputs["text"]
    assert "".join(part.text for part in parts) == text
    assert [part.end for part in parts if part.end] == list(asked.result(0).texts)


def test_an_answer_counts_tokens_and_says_why_its_text_ended(writing: WritingHost) -> None:
    asked = writing.ask("a b c", "d", max_new_tokens=5).result(TIMEOUT_S)
    assert [text.prompt_tokens for text in asked.texts] == [3, 1]
    assert [(text.tokens, text.finish_reason) for text in asked.texts] == [(5, "length")] * 2
    assert asked.queue_ms > 0
    assert asked.forward_ms > 0


def test_who_leaves_frees_the_slot_at_the_next_step(writing: WritingHost, steps: Steps) -> None:
    left = writing.ask("a b c", id=1000, max_new_tokens=25)
    steps.wait_for_one()
    stays = writing.ask("d e", max_new_tokens=3)
    writing.wait_for(1)
    writing.host.cancel(1000)
    steps.let_go()
    stays.result(TIMEOUT_S)
    left.result(TIMEOUT_S)
    eventually(lambda: not writing.engine.jobs)
    assert len(steps.rows) < 10


def test_a_cancelled_text_reports_what_it_used_until_then(writing: WritingHost, steps: Steps) -> None:
    left = writing.ask("a b c", id=1000, max_new_tokens=25)
    steps.wait_for_one()
    writing.host.cancel(1000)
    steps.let_go()
    answer = left.result(TIMEOUT_S)
    (text,), (used,) = answer.texts, answer.used
    assert (used.rows, used.prompt_tokens, used.generated_tokens) == (1, 3, text.tokens)
    assert 0 < text.tokens < 25


def test_what_a_request_used_is_reported_by_adapter(writing: WritingHost, adapters: tuple[Selection, ...]) -> None:
    rows = (adapters[1], BASE, adapters[1])
    answer = writing.ask("a b c", "d e", "f", adapters=rows, max_new_tokens=5).result(TIMEOUT_S)
    first, second, third = (text.tokens for text in answer.texts)
    counts = [(one.rows, one.prompt_tokens, one.cached_tokens, one.generated_tokens) for one in answer.used]
    assert counts == [(2, 4, 0, first + third), (1, 2, 0, second)]
    assert all(one.forward_s > 0 for one in answer.used)


def test_texts_that_share_steps_share_their_time(
    writing: WritingHost, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count()
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))  # a forward takes 1
    asked = writing.ask("a b c", "d e", max_new_tokens=6)
    steps.let_go()
    (used,) = asked.result(TIMEOUT_S).used
    prompts = 1  # read together
    assert used.forward_s == pytest.approx(prompts + len(steps.rows))
    assert 2 in steps.rows


def test_a_text_that_fails_fails_alone(writing: WritingHost, steps: Steps) -> None:
    def fail(ids: Sequence[int], positions: Sequence[int]) -> None:
        if any(id and position > 20 for id, position in zip(ids, positions, strict=True)):
            raise ValueError("no further than this")

    steps.fail = fail
    good = [writing.ask("a b c", max_new_tokens=6), writing.ask("d e", max_new_tokens=6)]
    steps.wait_for_one()
    bad = writing.ask("a " * 20, max_new_tokens=6)
    good.append(writing.ask("f g", max_new_tokens=6))
    steps.let_go()
    with pytest.raises(Invalid, match="no further than this"):
        bad.result(TIMEOUT_S)
    together = [asked.result(TIMEOUT_S).outputs["text"] for asked in good]
    assert together == [writing.write(text, max_new_tokens=6) for text in ("a b c", "d e", "f g")]


def test_an_error_in_no_forward_fails_the_texts_and_not_the_model(
    writing: WritingHost, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise RuntimeError("nobody foresaw this")

    asked = writing.ask("a b c", "d e f", "g", max_new_tokens=20)
    steps.wait_for_one()
    with monkeypatch.context() as broken:
        broken.setattr(engine.Engine, "_admit", fail)
        steps.let_go()
        with pytest.raises(RuntimeError, match="nobody foresaw this"):
            asked.result(TIMEOUT_S)
    assert writing.write("a b c", max_new_tokens=4)


def test_texts_that_wait_to_be_read_move_to_free_slots(
    writing: WritingHost, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "CHUNK", 8)  # one prompt a step

    def ask(place: int) -> Future[HostAnswer]:
        return writing.ask(PROMPTS[place % len(PROMPTS)], max_new_tokens=1 + place % 2, ignore_eos=True)

    asked = [ask(place) for place in range(12)]
    steps.let_go()
    together = [one.result(TIMEOUT_S).outputs for one in asked]
    assert together == [ask(place).result(TIMEOUT_S).outputs for place in range(12)]


def test_a_text_whose_time_is_over_ends(writing: WritingHost, steps: Steps) -> None:
    asked = writing.ask("a b c", max_new_tokens=20, remaining_s=0.01)
    steps.let_go()
    with pytest.raises(DeadlinePassed):
        asked.result(TIMEOUT_S)


def test_forwards_and_steps_take_turns(writing: WritingHost, steps: Steps) -> None:
    text = writing.ask("a b c", max_new_tokens=20)
    steps.wait_for_one()
    call = InferCall(Inputs({"input_ids": torch.tensor([[3, 4, 5]])}))
    forwards = [writing.host.infer(id, call, (BASE,)) for id in (2000, 2001)]
    steps.let_go()
    for forward in forwards:
        forward.result(TIMEOUT_S)
    assert not text.done() or len(steps.rows) == 19
    text.result(TIMEOUT_S)


def test_a_host_that_closes_finishes_its_texts(writing: WritingHost, steps: Steps) -> None:
    asked = writing.ask("a b c", max_new_tokens=6)
    steps.wait_for_one()
    closed = writing.host.close(Conflict("closing"))
    steps.let_go()
    assert asked.result(TIMEOUT_S).texts[0].tokens == 6
    closed.result(TIMEOUT_S)


def test_a_host_that_gives_up_answers_at_once(writing: WritingHost, steps: Steps) -> None:
    asked = writing.ask("a b c", max_new_tokens=6)
    steps.wait_for_one()
    writing.host.give_up(Unavailable("gone"))
    with pytest.raises(Unavailable, match="gone"):
        asked.result(TIMEOUT_S)


def test_a_model_that_does_not_write_on_slots_as_it_generates_is_left_to_generate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stepper, "decode", lambda self, ids, positions: torch.zeros(len(ids), 31))
    writing = WritingHost(tmp_path)
    assert len(writing.write("a b c", max_new_tokens=6)[0].split()) > 1
    assert not writing.engine.jobs
    writing.host.end(Conflict("the test is over"))


def test_what_is_drawn_follows_from_the_seed_whatever_shares_the_step(writing: WritingHost) -> None:
    how = {"do_sample": True, "temperature": 2.0, "seed": 5, "max_new_tokens": 8, "top_k": 20}
    alone = writing.write("a b c", **how)
    others = [writing.ask(text, max_new_tokens=12) for text in PROMPTS]
    assert writing.write("a b c", **how) == alone
    for other in others:
        other.result(TIMEOUT_S)
    assert writing.write("a b c", **how | {"seed": 6}) != alone


def test_stop_strings_logprobs_and_tokens_that_end_are_each_texts_own(writing: WritingHost) -> None:
    (whole,) = writing.write("a b c", max_new_tokens=8)
    words = whole.split()
    stopped = writing.ask("a b c", max_new_tokens=8, stop=[words[3]], logprobs=True, top_logprobs=2)
    unstopped = writing.ask("a b c", max_new_tokens=8)
    answer = stopped.result(TIMEOUT_S)
    assert answer.outputs["text"] == (whole[: whole.index(words[3])],)
    assert answer.texts[0].finish_reason == "stop"
    assert answer.texts[0].logprobs[-1].text.strip() == words[3]
    assert {len(token.alternatives) for token in answer.texts[0].logprobs} == {2}
    assert unstopped.result(TIMEOUT_S).outputs["text"] == (whole,)


def test_a_text_whose_logits_are_no_numbers_fails_alone(
    writing: WritingHost, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Stepper.decode

    def broken(stepper: Stepper, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        logits = decode(stepper, ids, positions)
        logits[[position > 20 for position in positions]] = torch.nan
        return logits

    monkeypatch.setattr(Stepper, "decode", broken)
    steps.let_go()
    bad, good = writing.ask("a " * 20, max_new_tokens=6), writing.ask("d e", max_new_tokens=6)
    with pytest.raises(Invalid, match="no numbers"):
        bad.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S).texts[0].tokens == 6
