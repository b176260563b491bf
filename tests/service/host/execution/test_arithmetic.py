"""What `dtype: auto` does to a model that is hosted, as its callers see it."""

from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest
import torch
from writing import WritingHost

from models_registry.errors import Conflict
from models_registry.injection.arithmetic import choice
from models_registry.injection.arithmetic.packing import packing_refusal
from service.protocol.types import BASE

PROMPTS = ("a b c", "d e f g h", "i", "j k l m", "n o p q r s t", "u v")


@pytest.fixture
def writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritingHost]:
    """Its arithmetic is the last that is possible here, however fast."""
    monkeypatch.setattr(choice, "CLEARLY", inf)
    writing = WritingHost(tmp_path, dtype="auto", stored=torch.bfloat16)
    yield writing
    writing.host.end(Conflict("the test is over"))


def test_texts_that_share_steps_are_those_that_each_is_alone(writing: WritingHost) -> None:
    adapters = (BASE, *(writing.adapter(name, seed) for seed, name in enumerate("xyz")))
    rows = [(prompt, adapters[place % len(adapters)]) for place, prompt in enumerate(PROMPTS)]
    asked = [writing.ask(prompt, adapters=(one,), max_new_tokens=9) for prompt, one in rows]
    alone = [writing.write(prompt, adapters=(one,), max_new_tokens=9) for prompt, one in rows]
    assert [one.result().outputs["text"] for one in asked] == alone


def test_a_model_that_writes_is_measured_at_its_steps(writing: WritingHost) -> None:
    arithmetic = writing.built.arithmetic
    assert arithmetic.form == ("float32" if packing_refusal() else "float16_weights")
    assert arithmetic.ratios["as_stored"] == 1.0
