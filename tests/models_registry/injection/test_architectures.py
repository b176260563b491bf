"""The architectures that people host, with every method: PEFT's numbers, mixed rows, and a state that comes back."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from parity.oracle import peft_model, peft_state
from tiny_models import TINY_MODELS, TinyModel
from tolerance import assert_same
from torch import Tensor, nn

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.injection import AdaptedModel
from models_registry.safetensors_files import read_safetensors, write_safetensors

METHODS: Mapping[str, dict[str, Any]] = {
    "LORA": {"peft_type": "LORA", "r": 3, "lora_alpha": 5},
    "ADALORA": {"peft_type": "ADALORA", "init_r": 3, "target_r": 2, "lora_alpha": 4, "total_step": 10},
    "IA3": {"peft_type": "IA3"},
}
SLICE = ("llama", "vit", "mamba", "transformer", "lstm")
CASES = [
    pytest.param(name, method, id=f"{name} {method}", marks=() if name in SLICE else pytest.mark.deep)
    for name in TINY_MODELS
    for method in METHODS
]
pytestmark = [
    pytest.mark.parametrize(("name", "method"), CASES),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True` and a tied layer is part of:UserWarning"),
    pytest.mark.filterwarnings("ignore:Note that `r` is not used in AdaLora:UserWarning"),
]


def raw_config(model: TinyModel, method: str) -> dict[str, Any]:
    return {**METHODS[method], **model.targets.get(method, {})}


def both(model: TinyModel, method: str) -> tuple[AdaptedModel, dict[str, nn.Module]]:
    """Two adapters "a" and "b" in ours, and each alone in PEFT's."""
    base, raw = model.base(), raw_config(model, method)
    adapted, theirs = AdaptedModel(copy.deepcopy(base)), {}
    for name, factor in (("a", 1.0), ("b", -0.7)):
        theirs[name] = peft_model(base, raw)
        for key, parameter in theirs[name].named_parameters():
            if "lora_" in key or "ia3_" in key:
                parameter.data *= factor
        adapted.inject_adapter(name, parse_config(raw), peft_state(theirs[name]))
    return adapted, theirs


def one_row(batch: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    return {name: tensor[row : row + 1] for name, tensor in batch.items()}


def assert_all_same(actual: list[Tensor], expected: list[Tensor], terms: int | None) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert_same(one, other, terms)


@pytest.fixture
def no_fused_path() -> Iterator[None]:
    """PEFT's adapters do nothing in torch's fused layers."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.usefixtures("no_fused_path")
def test_each_adapter_computes_what_peft_computes(name: str, method: str) -> None:
    model = TINY_MODELS[name]
    adapted, theirs = both(model, method)
    batch = model.inputs()
    plain = model.run(adapted.module, batch)
    for adapter, oracle in theirs.items():
        expected = model.run(oracle, batch)
        with adapted.routed_whole({adapter: 1.0}):
            assert_all_same(model.run(adapted.module, batch), expected, model.terms)
        assert any(float((one - other).abs().max()) > 1e-4 for one, other in zip(expected, plain, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(model.run(adapted.module, batch), plain, strict=True))


@pytest.mark.usefixtures("no_fused_path")
def test_mixed_rows_equal_their_solo_runs(name: str, method: str) -> None:
    model = TINY_MODELS[name]
    adapted, _ = both(model, method)
    batch = model.inputs()
    adapted.probe(lambda rows: model.run(adapted.module, rows), batch)
    assert adapted.routes_rows(["a", "b"])
    names: list[str | None] = ["b", None, "a", "b"]
    with adapted.routed([{} if adapter is None else {adapter: 1.0} for adapter in names]):
        mixed = model.run(adapted.module, batch)
    for row, adapter in enumerate(names):
        with adapted.routed_whole({} if adapter is None else {adapter: 1.0}):
            alone = model.run(adapted.module, one_row(batch, row))
        assert_all_same([output[row : row + 1] for output in mixed], alone, model.terms)


def test_the_state_comes_back(name: str, method: str) -> None:
    model = TINY_MODELS[name]
    adapted, _ = both(model, method)
    batch = model.inputs()
    again = AdaptedModel(model.base())
    config = parse_config(dump_config(adapted.checkpoint("a").config))
    again.inject_adapter("again", config, read_safetensors(write_safetensors(adapted.adapter_state_dict("a"))))
    with adapted.routed_whole({"a": 1.0}), again.routed_whole({"again": 1.0}):
        pairs = zip(model.run(adapted.module, batch), model.run(again.module, batch), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
