"""Texts that a model's own `generate` writes, as a caller sees them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import TIMEOUT_S
from tiny_tokenizers import byte_level
from writing import WritingHost

from models_registry.errors import Conflict, DeadlinePassed, Invalid
from service.host.generation import engine
from service.host.generation.answer import TextAnswer
from service.host.generation.sampler import Drawn
from service.host.generation.sequence import TextSequence
from service.protocol.texts import DrawnToken, TextPart
from service.protocol.types import BASE


@pytest.fixture
def stepping(tmp_path: Path) -> Iterator[WritingHost]:
    """The same model on slots."""
    stepping = WritingHost(tmp_path / "stepping")
    yield stepping
    stepping.host.end(Conflict("the test is over"))


@pytest.fixture
def writing(stepping: WritingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritingHost]:
    monkeypatch.setattr(engine, "stepper_for", lambda model: None)
    writing = WritingHost(tmp_path / "generating")
    yield writing
    writing.host.end(Conflict("the test is over"))


def test_parts_are_written_token_by_token_and_are_the_text(writing: WritingHost) -> None:
    parts: list[TextPart] = []
    answer = writing.ask("a b c", "d e f g", on_part=parts.append, max_new_tokens=6).result(TIMEOUT_S)
    for row, text in enumerate(answer.outputs["text"]):
        own = [part for part in parts if part.row == row]
        assert "".join(part.text for part in own) == text
        assert len(own) > 2
        assert own[-1].end == answer.texts[row]
    assert {part.row for part in parts[:2]} == {0, 1}


def test_an_answer_counts_tokens_and_says_why_its_text_ended(writing: WritingHost) -> None:
    (whole,) = writing.write("a b c", max_new_tokens=6)
    stop = whole.split()[2]
    answer = writing.ask("a b c", "d", max_new_tokens=6).result(TIMEOUT_S)
    assert [(text.prompt_tokens, text.tokens, text.finish_reason) for text in answer.texts] == [
        (3, 6, "length"),
        (1, 6, "length"),
    ]
    (used,) = answer.used
    assert (used.rows, used.prompt_tokens, used.cached_tokens, used.generated_tokens) == (2, 4, 0, 12)
    assert 0 < used.forward_s <= answer.forward_ms / 1000
    stopped = writing.ask("a b c", max_new_tokens=6, stop=[stop]).result(TIMEOUT_S)
    assert stopped.outputs["text"] == (whole[: whole.index(stop)],)
    assert stopped.texts[0].finish_reason == "stop"
    assert stopped.texts[0].tokens < 6


def test_each_row_is_written_with_its_own_adapter_in_its_place(writing: WritingHost) -> None:
    adapters = (*(writing.adapter(name, seed) for seed, name in enumerate("xy")), BASE)
    order = (0, 2, 1, 0)
    alone = [writing.write("a b", adapters=(adapter,), max_new_tokens=6)[0] for adapter in adapters]
    assert len(set(alone)) == 3
    asked = writing.ask("a b", "a b", "a b", "a b", adapters=tuple(adapters[at] for at in order), max_new_tokens=6)
    assert asked.result(TIMEOUT_S).outputs["text"] == tuple(alone[at] for at in order)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"logprobs": True, "top_logprobs": 3},
        {"do_sample": True, "seed": 3, "temperature": 2.0},
        {"logit_bias": {"5": 100.0}, "frequency_penalty": 1.5, "repetition_penalty": 1.2, "min_new_tokens": 3},
        {"stop_token_ids": [4, 5, 6, 7, 8], "ignore_eos": True},
    ],
)
def test_parameters_act_as_they_do_on_slots(
    stepping: WritingHost, writing: WritingHost, parameters: Mapping[str, Any]
) -> None:
    texts = ("a b c", "d e f g h", "i")
    ours, theirs = (host.ask(*texts, max_new_tokens=7, **parameters).result(TIMEOUT_S) for host in (writing, stepping))
    assert ours.outputs == theirs.outputs
    for own, other in zip(ours.texts, theirs.texts, strict=True):
        assert (own.finish_reason, own.tokens) == (other.finish_reason, other.tokens)
        assert [token.id for token in own.logprobs] == [token.id for token in other.logprobs]
        assert [token.logprob for token in own.logprobs] == pytest.approx(
            [token.logprob for token in other.logprobs], abs=1e-4
        )


def test_a_text_is_held_to_its_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "stepper_for", lambda model: None)
    tokenizer = byte_level()
    tokenizer.model_max_length = 256
    writing = WritingHost(tmp_path, tokenizer=tokenizer)
    for text in writing.write("a b", "c", constraint={"regex": "[0-9]{3} (yes|no)"}, max_new_tokens=20):
        assert re.fullmatch("[0-9]{3} (yes|no)", text)
    writing.host.end(Conflict("the test is over"))


def test_a_forward_is_answered_between_two_tokens(writing: WritingHost) -> None:
    seen: list[str] = []

    def hear(part: TextPart) -> None:
        if not seen:
            writing.run("d e").add_done_callback(lambda _: seen.append("forward"))
        seen.append("token")

    writing.ask("a b c", on_part=hear, max_new_tokens=4).result(TIMEOUT_S)
    assert seen[:3] == ["token", "forward", "token"]


def test_an_adapter_is_loaded_between_two_tokens_and_changes_no_text(writing: WritingHost) -> None:
    first = writing.adapter("x", 0)
    expected = writing.write("a b c", adapters=(first,), max_new_tokens=6)
    loaded: list[bool] = []

    def hear(_: TextPart) -> None:
        if not loaded:
            loaded.append(True)
            writing.host.load(writing.adapter("y", 1).parts[0].version, pin=False)

    assert writing.write("a b c", adapters=(first,), on_part=hear, max_new_tokens=6) == expected


def test_who_leaves_gets_no_more_tokens_and_the_others_all_of_theirs(writing: WritingHost) -> None:
    (whole,) = writing.write("d e", max_new_tokens=8)
    parts: list[TextPart] = []

    def leave(part: TextPart) -> None:
        parts.append(part)
        if len(parts) == 2:
            writing.host.cancel(700)

    blocker = writing.ask("a", max_new_tokens=2)
    left = writing.ask("a b c", id=700, on_part=leave, max_new_tokens=8)
    stays = writing.ask("d e", max_new_tokens=8)
    assert stays.result(TIMEOUT_S).outputs["text"] == (whole,)
    assert left.result(TIMEOUT_S).texts[0].tokens < 8
    assert len(parts) == 2
    blocker.result(TIMEOUT_S)


def test_what_is_late_ends_at_its_next_token(writing: WritingHost, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[TextPart] = []
    monkeypatch.setattr(TextAnswer, "is_late", property(lambda _: len(parts) == 3))
    with pytest.raises(DeadlinePassed):
        writing.ask("a b c", on_part=parts.append, max_new_tokens=8).result(TIMEOUT_S)
    assert len(parts) == 3


def test_a_text_that_fails_fails_alone(writing: WritingHost, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = writing.write("a b c", "f", max_new_tokens=4)
    take = TextSequence.take

    def fail_at_two(sequence: TextSequence, drawn: Drawn) -> tuple[str, tuple[DrawnToken, ...]]:
        if sequence.prompt_length == 2:
            raise RuntimeError("two words are too much")
        return take(sequence, drawn)

    monkeypatch.setattr(TextSequence, "take", fail_at_two)
    asked = [writing.ask(text, max_new_tokens=4) for text in ("a b c", "d e", "f")]
    with pytest.raises(Invalid, match="two words"):
        asked[1].result(TIMEOUT_S)
    assert [asked[at].result(TIMEOUT_S).outputs["text"] for at in (0, 2)] == [(text,) for text in expected]


@pytest.mark.parametrize("parameters", [{}, {"do_sample": True, "temperature": 5.0}])
def test_what_was_sent_is_not_sent_again_when_a_batch_is_written_again(
    writing: WritingHost, monkeypatch: pytest.MonkeyPatch, parameters: Mapping[str, Any]
) -> None:
    taken: list[int] = []
    take = TextSequence.take

    def fail_once(sequence: TextSequence, drawn: Drawn) -> tuple[str, tuple[DrawnToken, ...]]:
        taken.append(drawn.id)
        if len(taken) == 6:
            raise torch.OutOfMemoryError
        return take(sequence, drawn)

    monkeypatch.setattr(TextSequence, "take", fail_once)
    parts: list[TextPart] = []
    asked = writing.ask("a b c", "d e", on_part=parts.append, max_new_tokens=6, **parameters)
    texts = asked.result(TIMEOUT_S).outputs["text"]
    assert len(taken) > 12
    assert ["".join(part.text for part in parts if part.row == row) for row in range(2)] == list(texts)


def test_texts_that_wait_for_a_turn_are_given_up_with_the_others(writing: WritingHost) -> None:
    asked = [writing.ask("a b c", max_new_tokens=12, seed=at) for at in range(3)]
    writing.host.give_up(Conflict("no more"))
    for text in asked:
        assert isinstance(text.exception(TIMEOUT_S), Conflict | None)
