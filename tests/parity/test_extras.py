"""DoRA, biases, saved modules, token rows, attention and tied embeddings: what PEFT computes, saves and loads."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import peft
import pytest
import torch
from parity.extras import CASES, Case
from parity.oracle import assert_differs, assert_same_tensors, ours, peft_config, run, run_ours
from tolerance import assert_same
from torch import Tensor, nn

from models_registry.adapters.catalog import dump_config
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.injection import AdaptedModel
from models_registry.safetensors_files import write_safetensors

pytestmark = [
    pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed but the targeted layer of type"),
    # A bias is 1-D, as it should be.
    pytest.mark.filterwarnings(r"ignore:Adapter 'default'. . LoRA tensor\(s\) have invalid shape"),
    pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys()),
]


def peft_model(case: Case) -> peft.PeftModel:
    torch.manual_seed(5)
    model = peft.get_peft_model(case.build(), peft_config(case.raw), autocast_adapter_dtype=False)  # pyright: ignore[reportArgumentType] - any module will do
    assert isinstance(model, peft.PeftModel)
    return model


def theirs(case: Case) -> peft.PeftModel:
    """With numbers that matter in everything that PEFT trains."""
    model = peft_model(case)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "ranknum" not in name:  # which PEFT unfreezes when it makes it float64
            parameter.data += torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3
    return model.eval()


def state_of(model: peft.PeftModel) -> dict[str, Tensor]:
    """Without the twins that PEFT adds to what it trains: the base's embeddings, and a saved module's own bias."""
    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    stripped = {key.removeprefix(PEFT_PREFIX): tensor.detach().clone() for key, tensor in state.items()}
    return {k: t for k, t in stripped.items() if ".original_module." not in k and ".modules_to_save." not in k}


def by_row(adapted: AdaptedModel, inputs: Mapping[str, Tensor], names: list[str | None]) -> Tensor:
    with adapted.routed([{} if name is None else {name: 1.0} for name in names]):
        return run(adapted.module, inputs)


def test_the_output_is_pefts_and_the_state_has_its_keys(case: Case) -> None:
    base, inputs, model = case.build(), case.inputs(), theirs(case)
    plain = run(base, inputs)
    adapted = ours(base, case.raw, state_of(model))
    expected = run(model, inputs)
    assert_same(run_ours(adapted, inputs), expected)
    assert_differs(expected, plain)
    assert_same_tensors(adapted.adapter_state_dict("x"), state_of(model))
    assert torch.equal(run(adapted.module, inputs), plain)


def test_what_peft_gives_as_it_is_is_taken(case: Case) -> None:
    """With all that PEFT adds: prefixes, twins, copies of the base's embeddings."""
    model = theirs(case)
    adapted = ours(case.build(), case.raw, {k: t.clone() for k, t in peft.get_peft_model_state_dict(model).items()})
    assert_same(run_ours(adapted, case.inputs()), run(model, case.inputs()))


def test_a_fresh_adapter_has_the_keys_and_shapes_of_pefts_and_begins_where_it_begins(case: Case) -> None:
    model = peft_model(case).eval()
    adapted = ours(case.build(), case.raw)
    created = adapted.adapter_state_dict("x")
    assert {key: t.shape for key, t in created.items()} == {key: t.shape for key, t in state_of(model).items()}
    inputs = case.inputs()
    assert_same(run_ours(adapted, inputs), run(model, inputs))


def test_peft_loads_what_we_write(case: Case, tmp_path: Path) -> None:
    inputs = case.inputs()
    checkpoint = ours(case.build(), case.raw, state_of(theirs(case))).checkpoint("x")
    (tmp_path / "adapter_config.json").write_text(json.dumps(dump_config(checkpoint.config)))
    (tmp_path / "adapter_model.safetensors").write_bytes(write_safetensors(checkpoint.tensors, PEFT_PREFIX))
    loaded = peft.PeftModel.from_pretrained(case.build(), str(tmp_path), autocast_adapter_dtype=False)
    assert_same(run(loaded.eval(), inputs), run(theirs(case), inputs))


def test_rows_with_and_without_it_equal_their_solo_runs_and_leave_the_base_alone(case: Case) -> None:
    base, inputs = case.build(), case.inputs()
    state, plain = copy.deepcopy(base.state_dict()), run(base, inputs)
    adapted = ours(base, case.raw, state_of(theirs(case)))
    adapted.inject_adapter("other", adapted.checkpoint("x").config, _halved(adapted.adapter_state_dict("x")))
    rows = len(next(iter(inputs.values())))
    names: list[str | None] = ["x", None, "other", "x"][:rows]
    mixed = by_row(adapted, inputs, names)
    for row, name in enumerate(names):
        alone = by_row(adapted, {key: tensor[row : row + 1] for key, tensor in inputs.items()}, [name])
        assert_same(mixed[row : row + 1], alone)
    assert_differs(mixed[:1], plain[:1])
    for name in ("x", "other"):
        adapted.eject_adapter(name)
    _assert_untouched(adapted.module, state, plain, inputs)


def _assert_untouched(module: nn.Module, state: Mapping[str, Tensor], plain: Tensor, inputs: dict[str, Tensor]) -> None:
    assert torch.equal(run(module, inputs), plain)
    after = module.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[key], state[key]) for key in state)


def _halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor * 0.5 if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
