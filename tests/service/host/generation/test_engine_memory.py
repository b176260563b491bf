"""Texts whose keys and values don't fit, and beginnings that are kept because others may begin as they do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import TIMEOUT_S
from writing import WritingHost

from models_registry.errors import Conflict, Invalid, TooLong, Unavailable
from service.host.generation import prefixes, schedule
from service.host.generation.rooms import SLAB
from service.protocol.types import BASE, HostLimits, Selection
from tests.service.host.generation.steps import PROMPTS, Steps

POSITION_BYTES = 2 * 2 * 8 * 4  # keys and values of two layers, float32
SMALLEST = SLAB * POSITION_BYTES


def test_where_memory_runs_out_the_youngest_text_is_computed_again(writing: WritingHost, steps: Steps) -> None:
    def fail(ids: Sequence[int], positions: Sequence[int]) -> None:
        if len(ids) > 2:
            raise torch.OutOfMemoryError

    asked = [writing.ask(PROMPTS[0], max_new_tokens=9)]
    steps.wait_for_one()
    asked += [writing.ask(text, max_new_tokens=9) for text in PROMPTS[1:4]]
    writing.wait_for(3)
    steps.fail = fail
    steps.let_go()
    together = [one.result(TIMEOUT_S).outputs["text"] for one in asked]
    assert max(steps.rows) > 2
    assert together == [writing.write(text, max_new_tokens=9) for text in PROMPTS[:4]]


def test_a_lone_text_that_finds_no_memory_fails(writing: WritingHost, steps: Steps) -> None:
    def fail(ids: Sequence[int], positions: Sequence[int]) -> None:
        raise torch.OutOfMemoryError

    steps.fail = fail
    steps.let_go()
    with pytest.raises(Unavailable, match="Not enough memory"):
        writing.write("a b c", max_new_tokens=3)


def test_a_beginning_is_computed_once_for_each_adapter(
    writing: WritingHost, adapters: tuple[Selection, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (schedule, prefixes):
        monkeypatch.setattr(module, "CHUNK", 4)
    text = "a b c d e f g h i"
    asked = [
        writing.ask(one, adapters=(adapter,), max_new_tokens=5).result(TIMEOUT_S)
        for one, adapter in (
            (text, BASE),
            (text, BASE),
            (text, adapters[1]),
            ("a b c d e f x y z", BASE),
            ("a b c d", BASE),
        )
    ]
    assert [answer.texts[0].cached_tokens for answer in asked] == [0, 8, 0, 4, 0]
    assert asked[0].outputs == asked[1].outputs
    figures = writing.host.status().result(TIMEOUT_S).stats.texts
    assert (figures.prompt_tokens, figures.cached_tokens, figures.tokens) == (9 * 4 + 4, 12, 25)
    assert asked[2].outputs["text"] == writing.write(text, adapters=(adapters[1],), max_new_tokens=5)


def test_texts_wait_until_their_keys_and_values_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = WritingHost(tmp_path, HostLimits("cpu", max_cache_bytes=SMALLEST))
    writing.write("a", max_new_tokens=1)
    steps = Steps(monkeypatch)
    asked = [writing.ask(text, max_new_tokens=9) for text in PROMPTS * 2]
    steps.let_go()
    assert [one.result(TIMEOUT_S).texts[0].tokens for one in asked] == [9] * len(PROMPTS) * 2
    assert 4 < max(steps.rows) <= 8
    writing.host.end(Conflict("the test is over"))


def test_texts_that_outgrow_memory_are_those_that_each_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "MARGIN", 0)
    writing = WritingHost(tmp_path, HostLimits("cpu", max_cache_bytes=SMALLEST))
    how: dict[str, Any] = {"max_new_tokens": 64, "ignore_eos": True}
    first = writing.write(PROMPTS[0], **how)
    steps = Steps(monkeypatch)
    asked = [writing.ask(text, **how) for text in PROMPTS]
    steps.let_go()
    together = [one.result(TIMEOUT_S).outputs["text"] for one in asked]
    assert max(steps.rows) > 4  # so many fit while they are short
    assert sum(steps.rows) > 63 * len(PROMPTS)  # some was computed again
    assert writing.engine.stats.recomputed > 0
    assert together[0] == first
    assert together[-1] == writing.write(PROMPTS[-1], **how)
    assert writing.engine.stats.cache_bytes <= SMALLEST
    writing.host.end(Conflict("the test is over"))


def test_the_refusal_of_a_text_that_never_fits_has_both_numbers(tmp_path: Path) -> None:
    writing = WritingHost(tmp_path, HostLimits("cpu", max_cache_bytes=SMALLEST - 1))
    with pytest.raises(Invalid) as caught:
        writing.write("a b c", max_new_tokens=20)
    (fault,) = caught.value.faults
    assert fault.loc == ("inputs", "text", 0)
    assert "3 tokens" in fault.message
    assert "20 that may follow" in fault.message
    assert "0 that fit" in fault.message
    writing.host.end(Conflict("the test is over"))


def test_several_texts_of_one_prompt_that_never_fit_together_are_refused(
    tmp_path: Path,
) -> None:
    writing = WritingHost(tmp_path, HostLimits("cpu", max_cache_bytes=SMALLEST))
    assert len(writing.write(*["a b"] * 8, max_new_tokens=2)) == 8
    assert len(writing.write(*PROMPTS, *"vwx", max_new_tokens=2)) == 9
    with pytest.raises(TooLong) as caught:
        writing.write("c", *["a b"] * 9, max_new_tokens=20)
    (fault,) = caught.value.faults
    assert fault.loc == ("inputs", "text", 1)
    assert "9 texts of this prompt's 2 tokens and the 20 that may follow" in fault.message
    assert "take 1024 positions" in fault.message
    assert "512 fit" in fault.message
    writing.host.end(Conflict("the test is over"))
