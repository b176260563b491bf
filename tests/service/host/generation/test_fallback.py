"""Texts of a model that can't be run on slots, as a caller sees them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from engines import TIMEOUT_S
from writing import WritingHost

from models_registry.errors import Conflict, Invalid
from service.host.generation import engine
from service.host.generation.fallback import HeardText
from service.protocol.texts import TextPart


@pytest.fixture
def writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritingHost]:
    monkeypatch.setattr(engine, "stepper_for", lambda model: None)
    writing = WritingHost(tmp_path)
    yield writing
    writing.host.end(Conflict("the test is over"))


def test_parts_come_token_by_token_and_are_the_text(writing: WritingHost) -> None:
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
    assert used.forward_s == pytest.approx(answer.forward_ms / 1000)
    stopped = writing.ask("a b c", max_new_tokens=6, stop=[stop]).result(TIMEOUT_S)
    assert stopped.outputs["text"] == (whole[: whole.index(stop)],)
    assert stopped.texts[0].finish_reason == "stop"
    assert stopped.texts[0].tokens < 6


def test_each_row_is_heard_with_its_own_adapter(writing: WritingHost) -> None:
    adapters = tuple(writing.adapter(name, seed) for seed, name in enumerate("xyx"))
    parts: list[TextPart] = []
    asked = writing.ask("a b", "a b", "a b", adapters=adapters, on_part=parts.append, max_new_tokens=6)
    texts = asked.result(TIMEOUT_S).outputs["text"]
    assert [("".join(part.text for part in parts if part.row == row)) for row in range(3)] == list(texts)


def test_what_only_steps_can_do_is_refused(writing: WritingHost) -> None:
    with pytest.raises(Invalid, match="generate"):
        writing.write("a b c", max_new_tokens=6, logprobs=True)


def test_what_was_sent_is_not_sent_again_when_a_batch_is_written_again(
    writing: WritingHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    hear = HeardText.hear

    def fail_once(text: HeardText, id: int) -> None:
        hear(text, id)
        heard.append(id)
        if len(heard) == 4:
            raise torch.OutOfMemoryError

    monkeypatch.setattr(HeardText, "hear", fail_once)
    parts: list[TextPart] = []
    texts = writing.ask("a b c", "d e", on_part=parts.append, max_new_tokens=6).result(TIMEOUT_S).outputs["text"]
    assert len(heard) > 12
    assert ["".join(part.text for part in parts if part.row == row) for row in range(2)] == list(texts)
