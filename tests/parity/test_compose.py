"""Composition beside PEFT's `add_weighted_adapter`, with the same adapters and weights in both."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import peft
import pytest
import torch
from parity.layers import BEYOND_PEFT, CONV, CONV2D, EMBEDDING, GROUPED, LINEAR, LORA, Layer
from parity.oracle import assert_differs, peft_config, run
from peft.tuners.lora import LoraModel
from tolerance import assert_same
from torch import Tensor, nn

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.checkpoint import Checkpoint, match_checkpoint
from models_registry.adapters.compose import Component, compose
from models_registry.adapters.merge_options import CompositionMethod, MergeOptions
from models_registry.architecture import describe
from models_registry.injection import AdaptedModel

PARTS: Mapping[str, Mapping[str, Any]] = {
    "a": LORA,
    "b": {**LORA, "lora_alpha": 3, "use_rslora": True},
    "c": {**LORA, "alpha_pattern": {"layer": 1}},
}
WIDE: Mapping[str, Any] = {**LORA, "r": 8, "rank_pattern": {"layer": 6}}
WEIGHTS = (1.5, -0.375, 2.25)
"""PEFT keeps √|weight · scaling| in float32, whatever the adapters' dtype: these are whole there."""

# PEFT stacks convolutions' ranks as if B had no groups, and takes the SVD of Conv2d alone.
EVERY_LAYER = {**LINEAR, **EMBEDDING, **CONV}
SVD_LAYERS = {**LINEAR, **EMBEDDING, **CONV2D}


class Block(nn.Module):
    """Several targets, one of whose names ends the other's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 6)
        self.inner = nn.ModuleDict({"first": nn.Linear(6, 6), "second": nn.Linear(6, 4)})

    def forward(self, x: Tensor) -> Tensor:
        return self.inner["second"](torch.relu(self.inner["first"](torch.relu(self.first(x)))))


def block_inputs() -> dict[str, Tensor]:
    return {"x": torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)}


class Together:
    """A base with the same adapters in PEFT's model and as our checkpoints."""

    def __init__(self, base: nn.Module, raws: Mapping[str, Mapping[str, Any]]) -> None:
        self.base = base
        self.architecture = describe(base)
        self.theirs: LoraModel | None = None
        self.checkpoints: dict[str, Checkpoint] = {}
        for seed, (name, raw) in enumerate(raws.items()):
            config = peft_config(raw)
            if self.theirs is None:
                self.theirs = LoraModel(copy.deepcopy(base), config, name)  # pyright: ignore[reportArgumentType] - untyped
            else:
                self.theirs.peft_config[name] = config
                self.theirs.inject_adapter(self.theirs.model, name)
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for key, parameter in self.theirs.named_parameters():
                    if key.endswith((f".{name}.weight", f".{name}")):
                        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
            self.checkpoints[name] = match_checkpoint(parse_config(raw), self.state(name), self.architecture)

    @property
    def model(self) -> LoraModel:
        assert self.theirs is not None
        return self.theirs

    def state(self, name: str) -> dict[str, Tensor]:
        state = peft.get_peft_model_state_dict(self.model, adapter_name=name, save_embedding_layers=False)
        return {key.removeprefix("model."): tensor.clone() for key, tensor in state.items()}

    def parts(self, weights: Sequence[float]) -> list[Component]:
        return [Component(name, c, w) for (name, c), w in zip(self.checkpoints.items(), weights, strict=True)]

    def compose(self, options: MergeOptions, weights: Sequence[float] = WEIGHTS) -> Checkpoint:
        return compose(self.parts(weights), self.architecture, options)

    def peft_compose(self, options: MergeOptions, weights: Sequence[float] = WEIGHTS) -> None:
        self.model.add_weighted_adapter(
            list(self.checkpoints),
            list(weights),
            "merged",
            combination_type=options.method,
            svd_rank=options.rank,
            density=options.density,
        )
        self.model.set_adapter("merged")
        self.model.eval()

    def ours(self, checkpoint: Checkpoint, inputs: Mapping[str, Tensor]) -> Tensor:
        adapted = AdaptedModel(copy.deepcopy(self.base))
        adapted.attach_adapter("x", adapted.prepare_adapter(checkpoint))
        with adapted.routed_whole({"x": 1.0}):
            return run(adapted.module, inputs)

    def weighted(self, inputs: Mapping[str, Tensor], weights: Sequence[float] = WEIGHTS) -> Tensor:
        """What the parts give together, weighted at inference."""
        adapted = AdaptedModel(copy.deepcopy(self.base))
        for name, checkpoint in self.checkpoints.items():
            adapted.attach_adapter(name, adapted.prepare_adapter(checkpoint))
        with adapted.routed_whole(dict(zip(self.checkpoints, weights, strict=True))):
            return run(adapted.module, inputs)


def assert_same_composition(together: Together, inputs: Mapping[str, Tensor], options: MergeOptions) -> None:
    checkpoint = together.compose(options)
    together.peft_compose(options)
    expected = run(together.model.model, inputs)
    assert_same(together.ours(checkpoint, inputs), expected)
    assert_differs(expected, run(together.base, inputs))


ELEMENTWISE = (
    MergeOptions("linear"),
    MergeOptions("ties", density=0.5),
    MergeOptions("ties", density=1.0),
    MergeOptions("dare_linear", density=1.0),
    MergeOptions("dare_ties", density=1.0),
)


def name_of(options: MergeOptions) -> str:
    return f"{options.method} {options.density}"


@pytest.mark.filterwarnings("ignore:The density 1.0 is greater than or equal to 1:UserWarning")
@pytest.mark.parametrize("layer", EVERY_LAYER.values(), ids=EVERY_LAYER.keys())
@pytest.mark.parametrize("options", ELEMENTWISE, ids=name_of)
def test_what_takes_a_and_b_apart_gives_pefts_tensors(layer: Layer, options: MergeOptions) -> None:
    together = Together(layer.base(), PARTS)
    tensors = together.compose(options).tensors
    together.peft_compose(options)
    expected = together.state("merged")
    assert tensors.keys() == expected.keys()
    for key in expected:
        assert_same(tensors[key], expected[key])
    assert_same_composition(Together(layer.base(), PARTS), layer.inputs(), options)


@pytest.mark.parametrize("layer", EVERY_LAYER.values(), ids=EVERY_LAYER.keys())
def test_cat_computes_what_pefts_does(layer: Layer) -> None:
    assert_same_composition(Together(layer.base(), {**PARTS, "b": WIDE}), layer.inputs(), MergeOptions("cat"))


@pytest.mark.parametrize("rank", [None, 1, 3])
@pytest.mark.parametrize("layer", SVD_LAYERS.values(), ids=SVD_LAYERS.keys())
def test_svd_computes_what_pefts_does(layer: Layer, rank: int | None) -> None:
    options = MergeOptions("svd", rank=rank)
    together = Together(layer.base(), PARTS)
    assert_same_composition(together, layer.inputs(), options)
    ours, theirs = together.compose(options).tensors, together.state("merged")
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: tensor.shape for key, tensor in theirs.items()}


@pytest.mark.parametrize("options", [MergeOptions("cat"), *ELEMENTWISE[:2], MergeOptions("svd", rank=2)], ids=name_of)
def test_parts_with_different_targets_are_merged_where_they_are_as_in_peft(options: MergeOptions) -> None:
    raws = {
        "a": {**LORA, "target_modules": ["first"]},
        "b": {**LORA, "target_modules": ["inner.first", "second"]},
        "c": {**LORA, "lora_alpha": 1, "target_modules": ["second"]},
    }
    torch.manual_seed(0)
    together = Together(Block().double().eval(), raws)
    inputs = block_inputs()
    assert together.compose(options).targets == tuple(m for m in together.architecture.modules if m.kind == "linear")
    assert_same_composition(together, inputs, options)


@pytest.mark.parametrize("options", [MergeOptions("svd"), *ELEMENTWISE[:2]], ids=name_of)
def test_one_adapter_alone_is_weighted_as_in_peft(options: MergeOptions) -> None:
    layer = LINEAR["linear"]
    together = Together(layer.base(), {"a": LORA})
    inputs = layer.inputs()
    composed = together.compose(options, (-0.375,))
    together.peft_compose(options, (-0.375,))
    assert_same(together.ours(composed, inputs), run(together.model.model, inputs))


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_rank_stabilised_part_does_not_rescale_the_result(first: str) -> None:
    """PEFT's result inherits `use_rslora` from its first part, and so becomes √r too strong."""
    layer = LINEAR["linear"]
    raws = {first: PARTS[first], **{name: raw for name, raw in PARTS.items() if name != first}}
    together = Together(layer.base(), raws)
    inputs = layer.inputs()
    assert_same(together.ours(together.compose(MergeOptions("cat")), inputs), together.weighted(inputs))


@pytest.mark.parametrize("method", ["cat", "svd"])
@pytest.mark.parametrize(
    "layer", {**EVERY_LAYER, **GROUPED, **BEYOND_PEFT}.values(), ids={**EVERY_LAYER, **GROUPED, **BEYOND_PEFT}.keys()
)
def test_a_composition_with_room_for_all_ranks_is_the_weighted_sum(layer: Layer, method: CompositionMethod) -> None:
    together = Together(layer.base(), {"a": LORA, "b": {**LORA, "r": 8, "use_rslora": True}})
    inputs, weights = layer.inputs(), (0.7, -1.3)
    options = MergeOptions(method, rank=12 if method == "svd" else None)
    actual = together.ours(together.compose(options, weights), inputs)
    assert_same(actual, together.weighted(inputs, weights))


@pytest.mark.parametrize("options", [MergeOptions("cat"), MergeOptions("svd"), MergeOptions("linear")], ids=name_of)
def test_peft_loads_the_result_as_it_stands(options: MergeOptions) -> None:
    torch.manual_seed(0)
    some = {**LORA, "target_modules": r"first|inner\.second"}  # but not inner.first
    other = some if options.method == "linear" else {**some, "rank_pattern": {"^first": 6}}
    together = Together(Block().double().eval(), {"a": some, "b": other})
    checkpoint = together.compose(options, (0.5, 2.0))
    raw = dump_config(checkpoint.config)
    reloaded = peft.inject_adapter_in_model(peft_config(raw), copy.deepcopy(together.base)).eval()
    outcome = peft.set_peft_model_state_dict(reloaded, dict(checkpoint.tensors))
    assert not outcome.unexpected_keys
    inputs = block_inputs()
    assert_same(together.ours(checkpoint, inputs), run(reloaded, inputs))
    assert_differs(run(reloaded, inputs), run(together.base, inputs))
