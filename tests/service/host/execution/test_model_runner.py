from collections.abc import Mapping
from typing import Any

import pytest
from engines import ROWS, Running

from models_registry.errors import Invalid, WithoutEffect
from models_registry.inputs.values import Inputs
from service.front.requests import InferRequest, NewAdapter

LORA: Mapping[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["first", "second"]}


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
