"""Composition by algebra: what PEFT can't do, what is drawn at random, and what is refused."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tolerance import assert_same_in_float32
from torch import Tensor, nn

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.checkpoint import Checkpoint, fresh_checkpoint, match_checkpoint
from models_registry.adapters.compose import Component, compose
from models_registry.adapters.lora import LoraConfig
from models_registry.adapters.merge_options import COMPOSITION_METHODS, CompositionMethod, MergeOptions
from models_registry.adapters.merging import keep_greatest, keep_random
from models_registry.architecture import describe
from models_registry.errors import Invalid
from models_registry.injection import AdaptedModel
from models_registry.safetensors_files import write_safetensors

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "target_modules": ["first"], "init_lora_weights": False}
ADALORA: dict[str, Any] = {
    "peft_type": "ADALORA",
    "init_r": 3,
    "target_modules": ["first", "second"],
    "init_lora_weights": False,
    "total_step": 10,
}
IA3: dict[str, Any] = {"peft_type": "IA3", "target_modules": ["first"], "feedforward_modules": []}
X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 3)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.embedding = nn.Embedding(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x)).unsqueeze(1)  # [rows, 1, 6]
        y = torch.cat([y, self.embedding.weight.new_ones(1, 1, 6).expand(len(y), 1, 6)], dim=1)
        return self.second(self.attention(y, y, y, need_weights=False)[0].mean(1))


@pytest.fixture(scope="module")
def base() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


def part(base: nn.Module, weight: float, raw: Mapping[str, Any] = LORA, seed: int = 0) -> Component:
    return Component(f"{raw['peft_type']}-{seed}", fresh_checkpoint(parse_config(raw), describe(base), seed), weight)


def output(base: nn.Module, *parts: Component) -> Tensor:
    """With the parts side by side, weighted as they are."""
    adapted = AdaptedModel(copy.deepcopy(base))
    for number, each in enumerate(parts):
        adapted.attach_adapter(str(number), adapted.prepare_adapter(each.checkpoint))
    composition = {str(number): each.weight for number, each in enumerate(parts)}
    with torch.no_grad(), adapted.routed_whole(composition):
        return adapted.module(X)


def composed_output(base: nn.Module, checkpoint: Checkpoint) -> Tensor:
    return output(base, Component("composed", checkpoint, 1.0))


def assert_is_the_sum(base: nn.Module, checkpoint: Checkpoint, *parts: Component) -> None:
    expected = output(base, *parts)
    assert_same_in_float32(composed_output(base, checkpoint), expected)
    assert (expected - output(base)).abs().max() > 1e-3


def faults(base: nn.Module, parts: list[Component], options: MergeOptions) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        compose(parts, describe(base), options)
    return {".".join(map(str, fault.loc)): fault.message for fault in caught.value.faults}


# ---- exact ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [MergeOptions("cat"), MergeOptions("svd", rank=6)], ids=lambda options: options.method
)
def test_lora_rslora_and_pruned_adalora_add_up_exactly(base: nn.Module, options: MergeOptions) -> None:
    pruned = {**ADALORA, "rank_pattern": {"first.lora_E": [True, False, True], "second.lora_E": [False] * 3}}
    parts = [
        part(base, 0.7, LORA),
        part(base, -1.5, {**LORA, "use_rslora": True, "r": 5, "target_modules": ["first", "second"]}),
        part(base, 10.0, ADALORA, 1),
        part(base, 10.0, pruned, 2),
    ]
    checkpoint = compose(parts, describe(base), options)
    assert checkpoint.config.peft_type == "LORA"
    assert_is_the_sum(base, checkpoint, *parts)


def test_a_target_at_which_pruning_left_nothing_is_no_target_of_the_result(base: nn.Module) -> None:
    pruned = {**ADALORA, "rank_pattern": {"second.lora_E": [False] * 3}}
    checkpoint = compose([part(base, 1.0, pruned)], describe(base), MergeOptions("cat"))
    assert [target.name for target in checkpoint.targets] == ["first"]
    gone = {**ADALORA, "target_modules": ["second"], "rank_pattern": {"second.lora_E": [False] * 3}}
    with pytest.raises(Invalid, match="no rank left"):
        compose([part(base, 1.0, gone)], describe(base), MergeOptions("cat"))


@pytest.mark.parametrize(
    "options", [MergeOptions("cat"), MergeOptions("svd", rank=6)], ids=lambda options: options.method
)
def test_attention_modules_are_composed_in_both_their_projections(base: nn.Module, options: MergeOptions) -> None:
    attention = {**LORA, "target_modules": ["attention", "first"]}
    parts = [part(base, 0.7, attention, 1), part(base, -0.4, {**attention, "r": 3}, 2)]
    assert_is_the_sum(base, compose(parts, describe(base), options), *parts)


def test_biases_of_b_add_up_where_only_some_parts_have_them(base: nn.Module) -> None:
    biased = part(base, -2.0, {**LORA, "lora_bias": True, "target_modules": ["second"]}, 1)
    biased.checkpoint.tensors["second.lora_B.bias"].fill_(0.5)
    parts = [part(base, 0.7), biased]
    assert_is_the_sum(base, compose(parts, describe(base), MergeOptions("cat")), *parts)


def test_svd_keeps_the_nearest_product_of_its_rank(base: nn.Module) -> None:
    parts = [part(base, 1.0, {**LORA, "r": 3}, seed) for seed in range(2)]
    whole, near = (
        compose(parts, describe(base), r).tensors for r in (MergeOptions("cat"), MergeOptions("svd", rank=2))
    )
    wanted, got = (t["first.lora_B.weight"] @ t["first.lora_A.weight"] for t in (whole, near))
    u, s, vh = torch.linalg.svd(wanted)
    assert_same_in_float32(got, (u[:, :2] * s[:2]) @ vh[:2])
    assert float(s[2]) > 1e-2


@pytest.mark.parametrize(("rank", "kept"), [(2, 2), (3, 4), (4, 4), (10**400, 6)])
def test_svd_shares_its_rank_among_a_convolutions_groups(rank: int, kept: int) -> None:
    torch.manual_seed(0)
    conv = nn.ModuleDict({"conv": nn.Conv2d(4, 6, 3, groups=2)})
    parts = [part(conv, 1.0, {**LORA, "target_modules": ["conv"], "r": 4}, seed) for seed in range(2)]
    checkpoint = compose(parts, describe(conv), MergeOptions("svd", rank=rank))
    shapes = [tuple(tensor.shape) for tensor in checkpoint.tensors.values()]
    assert shapes == [(kept, 4, 3, 3), (6, kept // 2, 1, 1)]


def test_the_result_is_in_float32_at_least(base: nn.Module) -> None:
    half = part(base, 0.3)
    half = Component("half", match_checkpoint(half.checkpoint.config, _cast(half, torch.bfloat16), describe(base)), 0.3)
    checkpoint = compose([half, half], describe(base), MergeOptions("cat"))
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {torch.float32}
    double = match_checkpoint(half.checkpoint.config, _cast(half, torch.float64), describe(base))
    checkpoint = compose([half, Component("double", double, 0.3)], describe(base), MergeOptions("linear"))
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {torch.float64}


def _cast(part: Component, dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: tensor.to(dtype) for key, tensor in part.checkpoint.tensors.items()}


# ---- the result's config ----------------------------------------------------------------------------------------


def test_every_target_has_its_own_rank_and_no_scaling(base: nn.Module) -> None:
    parts = [part(base, 1.0), part(base, 1.0, {**LORA, "r": 3, "target_modules": ["first", "second"], "lora_alpha": 9})]
    config = compose(parts, describe(base), MergeOptions("cat")).config
    assert isinstance(config, LoraConfig)
    assert config.target_modules == ("first", "second")
    assert (config.r, config.lora_alpha) == (5, 5)
    assert config.rank_pattern == config.alpha_pattern == {"^second": 3}
    assert [config.scaling(target) for target in describe(base).modules if target.name in ("first", "second")] == [1, 1]


def test_the_result_is_read_again_from_what_is_stored(base: nn.Module) -> None:
    parts = [part(base, 0.5), part(base, 1.0, ADALORA)]
    checkpoint = compose(parts, describe(base), MergeOptions("cat"))
    again = match_checkpoint(parse_config(dump_config(checkpoint.config)), checkpoint.tensors, describe(base))
    assert again.config == checkpoint.config


def test_a_name_that_ends_another_modules_name_targets_it_alone() -> None:
    torch.manual_seed(0)
    nested = nn.ModuleDict({"first": nn.Linear(4, 4), "inner": nn.ModuleDict({"first": nn.Linear(4, 4)})})
    raw = {**LORA, "target_modules": "first"}
    checkpoint = compose([part(nested, 1.0, raw)], describe(nested), MergeOptions("cat"))
    assert [target.name for target in checkpoint.targets] == ["first"]


# ---- elementwise methods ----------------------------------------------------------------------------------------


def test_density_is_the_share_of_greatest_numbers_that_is_kept() -> None:
    tensor = torch.tensor([[1.0, -5.0, 2.0], [-4.0, 3.0, 0.5]])
    assert torch.equal(keep_greatest(tensor, 0.5), torch.tensor([[0.0, -5.0, 0.0], [-4.0, 3.0, 0.0]]))
    assert torch.equal(keep_greatest(tensor, 0.1), torch.zeros(2, 3))
    assert torch.equal(keep_greatest(tensor, 1.0), tensor)


def test_what_is_kept_at_random_is_scaled_up_so_that_the_mean_stays() -> None:
    tensor = torch.full((100_000,), 2.0)
    kept = keep_random(tensor, 0.25, torch.Generator().manual_seed(0))
    assert set(kept.unique().tolist()) == {0.0, 8.0}
    assert float((kept != 0).float().mean()) == pytest.approx(0.25, abs=0.01)


def test_ties_averages_those_that_agree_with_the_sign_of_the_sum(base: nn.Module) -> None:
    parts = [part(base, 1.0, {**LORA, "lora_alpha": 2}, seed) for seed in range(3)]
    values = [(1.0, 2.0), (3.0, -1.0), (-1.0, -2.0)]
    for each, (one, other) in zip(parts, values, strict=True):
        each.checkpoint.tensors["first.lora_A.weight"].fill_(one)[:, 0] = other
    a = compose(parts, describe(base), MergeOptions("ties", density=1.0)).tensors["first.lora_A.weight"]
    assert torch.equal(a, torch.tensor([-1.5, 2.0, 2.0, 2.0]).expand(2, 4))


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_a_seed_makes_what_is_drawn_the_same(base: nn.Module, method: CompositionMethod) -> None:
    parts = [part(base, 0.5, seed=seed) for seed in range(3)]
    torch.manual_seed(4)
    state = torch.get_rng_state()
    one, same, other, free, freer = (
        write_safetensors(compose(parts, describe(base), MergeOptions(method, density=0.5, seed=seed)).tensors)
        for seed in (7, 7, 8, None, None)
    )
    assert one == same
    assert len({one, other, free, freer}) == 4
    assert torch.equal(torch.get_rng_state(), state)


def test_dare_linear_is_linear_in_the_mean(base: nn.Module) -> None:
    parts = [part(base, 0.5, seed=1), part(base, -2.0, seed=2)]
    options = [MergeOptions("dare_linear", density=0.8, seed=seed) for seed in range(400)]
    architecture = describe(base)
    drawn = [compose(parts, architecture, options).tensors["first.lora_A.weight"] for options in options]
    expected = compose(parts, describe(base), MergeOptions("linear")).tensors["first.lora_A.weight"]
    torch.testing.assert_close(torch.stack(drawn).mean(0), expected, atol=0.1, rtol=0)


# ---- refused, or said -------------------------------------------------------------------------------------------


def test_whatever_replaces_instead_of_adding_is_named_at_once(base: nn.Module) -> None:
    raws = [IA3, {**LORA, "bias": "all"}, {**LORA, "use_dora": True, "modules_to_save": ["second"]}]
    architecture = describe(base)
    parts = [
        Component(f"p{number}", fresh_checkpoint(parse_config(raw), architecture, 0, base.get_parameter), 1.0)
        for number, raw in enumerate(raws)
    ]
    parts += [part(base, float("inf")), Component("nan", parts[0].checkpoint, float("nan"))]
    found = faults(base, parts, MergeOptions("ties", density=2.0, rank=0, seed=-1))
    assert "IA3" in found["adapters.p0"]
    assert "bias" in found["adapters.p1"]
    assert "use_dora and modules_to_save" in found["adapters.p2"]
    assert "finite" in found["adapters.LORA-0"]
    assert {"density", "rank", "seed", "adapters.nan"} <= found.keys()


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (MergeOptions("ties"), "density"),
        (MergeOptions("dare_ties", density=0.0), "density"),
        (MergeOptions("dare_linear", density=float("nan")), "density"),
        (MergeOptions("svd", rank=-3), "rank"),
        (MergeOptions("median"), "method"),  # pyright: ignore[reportArgumentType] - what a caller without types may write
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(base: nn.Module, options: MergeOptions, where: str) -> None:
    assert set(faults(base, [part(base, 1.0), part(base, 1.0)], options)) == {where}


def test_nothing_can_be_made_of_nothing(base: nn.Module) -> None:
    assert set(faults(base, [], MergeOptions("cat"))) == {"adapters"}


@pytest.mark.parametrize("method", [method for method in COMPOSITION_METHODS if method not in ("cat", "svd")])
def test_what_takes_a_and_b_apart_needs_equal_ranks_and_lora(base: nn.Module, method: CompositionMethod) -> None:
    density = None if method == "linear" else 0.5
    uneven = [part(base, 1.0), part(base, 1.0, {**LORA, "rank_pattern": {"first": 3}}, 1)]
    message = faults(base, uneven, MergeOptions(method, density))["adapters"]
    assert all(word in message for word in ("'first'", "2 (LORA-0)", "3 (LORA-1)", "cat or svd"))
    assert (
        "AdaLoRA"
        in faults(base, [part(base, 1.0, ADALORA), part(base, 1.0)], MergeOptions(method, density))[
            "adapters.ADALORA-0"
        ]
    )


def test_a_weight_beyond_all_numbers_is_refused(base: nn.Module) -> None:
    assert faults(base, [part(base, 1e300)], MergeOptions("cat")) == {
        "weights.first.lora_A.weight": "holds NaN or Inf, or overflows float32"
    }


def test_a_bias_of_b_beside_an_embedding_is_refused_for_lora_has_no_such_config(base: nn.Module) -> None:
    parts = [part(base, 1.0, {**LORA, "lora_bias": True}), part(base, 1.0, {**LORA, "target_modules": ["embedding"]})]
    assert "lora_bias" in faults(base, parts, MergeOptions("cat"))["config.target_modules"]


def test_options_without_a_meaning_are_said_not_to_be_used(base: nn.Module) -> None:
    parts = [part(base, 1.0), part(base, 1.0, seed=1)]
    warnings = compose(parts, describe(base), MergeOptions("cat", density=0.5, rank=3, seed=1)).warnings
    assert [warning.split()[0] for warning in warnings] == ["density", "rank", "seed"]
    (alone,) = compose(parts[:1], describe(base), MergeOptions("ties", density=0.5)).warnings
    assert "only weighted" in alone


def test_an_svd_that_would_take_very_long_is_refused_before_it_begins(base: nn.Module) -> None:
    wide = part(base, 1.0, {**LORA, "r": 1_000_000})
    with pytest.raises(Invalid, match="An svd of these adapters takes about 2e"):
        compose([wide], describe(base), MergeOptions("svd", rank=2))
    assert len(compose([wide], describe(base), MergeOptions("cat")).tensors["first.lora_A.weight"]) == 1_000_000
