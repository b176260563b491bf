from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import bases
import pytest
import torch
from engines import ROWS, Running, lora_weights
from torch import nn

from models_registry.adapters.catalog import parse_config
from models_registry.base_models.spec import Rows
from models_registry.base_models.writing import OnTokens, Prompt
from models_registry.errors import Invalid, WithoutEffect
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.safetensors_files import read_safetensors
from service.front.requests import InferRequest, NewAdapter
from service.host.execution.model_runner import answer_jobs
from service.host.scheduling.job import Job
from service.protocol.types import BASE, InferCall, Part, Selection

LORA: Mapping[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["first", "second"]}


class Scribe:
    """Continues a text with what the module computes just then, so that a text shows which adapter wrote it."""

    task: str | None = "text-generation"
    absent_head = None

    def build(self, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
        return bases.mlp().to(device, dtype)

    def prepare(self, inputs: Inputs, chat: bool | None, parameters: Mapping[str, Any] | None) -> Inputs:
        return inputs

    def default_outputs(self, inputs: Inputs) -> None:
        return None

    def read(self, module: nn.Module, inputs: Inputs) -> Rows:
        return Rows(inputs.tensors, len(inputs.texts))

    def forward(self, module: nn.Module, rows: Rows) -> Mapping[str, OutputValue]:
        return {"output": module(rows.tensors["x"])}

    def example(self, module: nn.Module) -> Rows | None:
        return None

    def writer(self, module: nn.Module) -> None:
        return None

    def prompts(self, inputs: Inputs, parameters: Mapping[str, Any]) -> tuple[Prompt, ...]:
        raise NotImplementedError

    def joins(self, parameters: Mapping[str, Any]) -> bool:
        return False

    def generate(
        self,
        module: nn.Module,
        inputs: Inputs,
        parameters: Mapping[str, Any],
        stopped: Callable[[], bool],
        places: Sequence[int] = (),
        on_tokens: OnTokens | None = None,
    ) -> tuple[str, ...]:
        mark = float(module(ROWS[:1]).sum())
        return tuple(f"{text} {parameters['word']} {mark:.4f}" for text in inputs.texts)


@pytest.fixture
def adapted() -> AdaptedModel:
    adapted = AdaptedModel(bases.mlp().eval().requires_grad_(False))
    for name, scale in (("a", 0.5), ("b", 1.0)):
        adapted.inject_adapter(name, parse_config(LORA), read_safetensors(lora_weights(scale)))
    return adapted


def test_texts_are_continued_by_their_own_adapters_in_the_order_they_came(
    adapted: AdaptedModel, selections: Mapping[str, Selection]
) -> None:
    order = ("a", "base", "b", "a")
    (answer,) = answer_jobs(
        Scribe(), adapted, [continuing(["one", "two", "three", "four"], [selections[n] for n in order])]
    )
    marks: dict[str, float] = {}
    for name in order:
        with torch.inference_mode(), adapted.routed_whole(selections[name].composition):
            marks[name] = float(adapted.module(ROWS[:1]).sum())
    assert len(set(marks.values())) == 3
    words = zip(["one", "two", "three", "four"], order, strict=True)
    assert answer.values == {"text": tuple(f"{word} said {marks[name]:.4f}" for word, name in words)}
    assert answer.selections == tuple(selections[name] for name in order)


def test_one_adapter_continues_every_text(adapted: AdaptedModel, selections: Mapping[str, Selection]) -> None:
    (answer,) = answer_jobs(Scribe(), adapted, [continuing(["one", "two"], [selections["a"]])])
    assert answer.selections == (selections["a"],) * 2


def test_parameters_need_a_model_that_writes(running: Running) -> None:
    running.host()
    with pytest.raises(Invalid, match="doesn't write"):
        running.answer_for(InferRequest("m", Inputs({"x": ROWS}), parameters={"max_new_tokens": 3}))


def test_an_adapter_that_the_forward_never_enters_is_an_error_and_not_a_silent_base(running: Running) -> None:
    running.host("m", "gated:detour")
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["unused"], "init_lora_weights": False}
    running.engine.adapters.create(NewAdapter("m", "idle", config))
    with pytest.raises(WithoutEffect) as caught:
        running.answer("idle")
    assert [fault.loc for fault in caught.value.faults] == [("adapter", "idle@1")]
    assert running.answer().adapter == (None,) * 3


@pytest.fixture
def selections(running: Running) -> Mapping[str, Selection]:
    """`a` and `b` as `adapted` knows them; the versions behind them don't matter to a forward."""
    running.host()
    version = running.create("any").version
    return {"base": BASE, **{name: Selection((Part(version, name, 1.0),)) for name in "ab"}}


def continuing(texts: Sequence[str], selections: Sequence[Selection]) -> Job:
    request = InferCall(Inputs(texts=tuple(texts)), parameters={"word": "said"})
    return Job(request, tuple(selections), None, Future(), 0.0)
