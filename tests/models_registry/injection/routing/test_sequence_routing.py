"""Rows that join, move and leave one routing: each is answered as it would be alone, and costs only what is new."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from tolerance import assert_same
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.catalog import parse_config
from models_registry.errors import Invalid, NotFound
from models_registry.injection import AdaptedModel, Composition
from models_registry.injection.kernels.kernel_table import KernelTable
from models_registry.injection.routing.sequence_routing import SequenceRouting

ROWS, WORDS = 8, 11
LAYERS = ["one", "two"]
LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "init_lora_weights": False, "target_modules": LAYERS}
IA3: dict[str, Any] = {"peft_type": "IA3", "target_modules": LAYERS, "init_ia3_weights": False}
ADAPTERS: Mapping[str, dict[str, Any]] = {
    "lora": LORA,
    "other": LORA,
    "wide": {**LORA, "r": 35},
    "patterned": {**LORA, "rank_pattern": {"one": 17}, "alpha_pattern": {"two": 1}},
    "partial": {**LORA, "target_modules": ["two"]},
    "ada": {"peft_type": "ADALORA", "init_r": 3, "lora_alpha": 2, "init_lora_weights": False, "target_modules": LAYERS},
    "dora": {**LORA, "use_dora": True},
    "biased": {**LORA, "lora_bias": True},
    "embedded": {**LORA, "target_modules": ["embedding", "one"]},
    "saved": {**LORA, "target_modules": ["one"], "modules_to_save": ["two"]},
    "tokens": {**LORA, "trainable_token_indices": {"embedding": [1, 4]}},
    "ia3": {**IA3, "feedforward_modules": []},
    "ia3 of inputs": {**IA3, "feedforward_modules": ["two"]},
}
COMPOSITIONS: Sequence[Composition] = [
    {},
    *({name: 1.0} for name in ADAPTERS),
    {"lora": 0.5, "wide": -2.0},
    {"lora": 0.5},
    {"ada": 1.0, "partial": 0.1},
]


class Model(nn.Module):
    """Token ids in; the same number of rows out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.one = nn.Linear(16, 24)
        self.two = Conv1D(20, 24)

    def forward(self, ids: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(self.embedding(ids))))


def adapt(names: Sequence[str] = tuple(ADAPTERS), dtype: torch.dtype = torch.float64) -> AdaptedModel:
    torch.manual_seed(0)
    adapted = AdaptedModel(Model().eval().requires_grad_(False).to(dtype))
    for seed, name in enumerate(names):
        adapted.inject_adapter(name, parse_config(ADAPTERS[name]), seed=seed)
    return adapted


@pytest.fixture(scope="module")
def shared() -> AdaptedModel:
    """For tests that inject nothing."""
    return adapt()


def token_ids(rows: int, tokens: int = 1) -> Tensor:
    return torch.arange(rows * tokens).view(rows, tokens) * 3 % WORDS


@torch.inference_mode()
def step(adapted: AdaptedModel, sequences: SequenceRouting, rows: int = ROWS, tokens: int = 1) -> Tensor:
    with sequences.active(rows):
        return adapted.module(token_ids(rows, tokens))


@torch.inference_mode()
def alone(adapted: AdaptedModel, composition: Composition, ids: Tensor) -> Tensor:
    with adapted.routed_whole(composition):
        return adapted.module(ids)


def assert_each_is_alone(adapted: AdaptedModel, out: Tensor, rows: Sequence[Composition], tokens: int = 1) -> None:
    ids = token_ids(len(rows), tokens)
    for row, composition in enumerate(rows):
        assert_same(out[row : row + 1], alone(adapted, composition, ids[row : row + 1]))


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_join_move_and_leave_are_answered_as_alone(shared: AdaptedModel, seed: int) -> None:
    chance = random.Random(seed)
    sequences = shared.sequence_routing(ROWS)
    rows: list[Composition] = [{}] * ROWS
    for _ in range(30):
        row, source = chance.randrange(ROWS), chance.randrange(ROWS)
        match chance.randrange(4):
            case 0 if source != row:
                sequences.move(source, row)
                rows[row], rows[source] = rows[source], {}
            case 1:
                sequences.clear(row)
                rows[row] = {}
            case _:
                rows[row] = chance.choice(COMPOSITIONS)
                sequences.place(row, rows[row])
        count, tokens = chance.choice([2, 4, ROWS]), chance.choice([1, 1, 3])
        assert_each_is_alone(shared, step(shared, sequences, count, tokens), rows[:count], tokens)


def test_a_lone_row_is_answered_as_alone(shared: AdaptedModel) -> None:
    sequences = shared.sequence_routing(1)
    for composition in COMPOSITIONS:
        sequences.place(0, composition)
        assert_each_is_alone(shared, step(shared, sequences, 1), [composition])


def test_rows_beyond_those_that_have_a_place_are_the_bases(shared: AdaptedModel) -> None:
    sequences = shared.sequence_routing(2)
    sequences.place(1, {"wide": 1.0})
    assert_each_is_alone(shared, step(shared, sequences, 4), [{}, {"wide": 1.0}, {}, {}])


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=str)
def test_a_rows_bits_are_the_same_whoever_shares_the_step(composition: Composition) -> None:
    adapted = adapt(dtype=torch.float32)
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(2, composition)
    own = step(adapted, sequences)[2]
    for others in ([composition] * ROWS, COMPOSITIONS[:ROWS], COMPOSITIONS[-ROWS:]):
        for row, other in enumerate(others):
            sequences.place(row, composition if row == 2 else other)
        assert torch.equal(step(adapted, sequences)[2], own)
    for row in range(ROWS):
        sequences.clear(row)
    sequences.place(2, composition)
    assert torch.equal(step(adapted, sequences)[2], own)


@pytest.mark.parametrize("name", ["lora", "dora", "biased", "ia3"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_once(name: str, dtype: torch.dtype) -> None:
    """At one target, where no rounding grows."""
    adapted = adapt((name,), dtype)
    x = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    sequences = adapted.sequence_routing(2)
    sequences.place(1, {name: 1.0})
    layer = adapted.module.get_submodule("one")
    with torch.inference_mode():
        with sequences.active(2):
            out = layer(x)
        with adapted.routed([{}, {name: 1.0}]):
            assert_same(out, layer(x), terms=1)


# ---- what it costs --------------------------------------------------------------------------------------------------


class Operations(TorchDispatchMode):
    """Counts them, by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.each = Counter[object]()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.each[func] += 1
        return func(*args, **(kwargs or {}))


def copies(adapted: AdaptedModel, sequences: SequenceRouting) -> int:
    """Into tensors that were there before."""
    with Operations() as counted:
        step(adapted, sequences)
    return counted.each[torch.ops.aten.copy_.default]


def test_a_composition_is_copied_when_it_joins_and_never_again() -> None:
    adapted = adapt(("lora", "other"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    assert copies(adapted, sequences) > 0
    sequences.place(1, {"lora": 1.0})
    sequences.place(2, {})
    assert copies(adapted, sequences) == 0
    sequences.place(3, {"other": 1.0})
    one_more = copies(adapted, sequences)
    sequences.place(4, {"other": 0.5})
    assert 0 < copies(adapted, sequences) <= one_more


@pytest.mark.parametrize("name", ["lora", "dora", "biased", "ia3"])
def test_rows_of_linear_methods_cost_as_many_operations_as_one(name: str) -> None:
    adapted = adapt((name, "other"))
    sequences = adapted.sequence_routing(ROWS)
    counts: list[int] = []
    for row in range(ROWS):
        sequences.place(row, {name: 1.0})
        step(adapted, sequences)
        with Operations() as counted:
            step(adapted, sequences)
        counts.append(sum(counted.each.values()))
    assert counts[0] == counts[1] == counts[-2]


def test_a_composition_that_returns_is_not_copied_again() -> None:
    adapted = adapt(("lora", "other"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    sequences.place(1, {"other": 1.0})
    step(adapted, sequences)
    sequences.clear(1)
    step(adapted, sequences)
    sequences.place(5, {"other": 1.0})
    assert copies(adapted, sequences) == 0
    sequences.move(5, 3)
    assert copies(adapted, sequences) == 0


def test_attaching_another_adapter_renews_no_plan_and_copies_nothing() -> None:
    adapted = adapt(("lora", "ia3"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    sequences.place(1, {"ia3": 1.0})
    step(adapted, sequences)
    with sequences.active(ROWS) as made:
        before = {layer: plan.additions for layer, plan in made.plans.items()}
    adapted.inject_adapter("other", parse_config(LORA), seed=7)
    adapted.eject_adapter("other")
    assert copies(adapted, sequences) == 0
    with sequences.active(ROWS) as still:
        assert still is made
    assert all(plan.additions is before[layer] for layer, plan in made.plans.items())


# ---- adapters that change -------------------------------------------------------------------------------------------


def test_a_replaced_adapter_acts_as_it_is_now() -> None:
    adapted = adapt(("lora", "other", "ia3"))
    sequences = adapted.sequence_routing(ROWS)
    rows: list[Composition] = [{"lora": 1.0}, {"other": 1.0}, {"lora": 2.0, "other": 1.0}, {"ia3": 1.0}]
    for row, composition in enumerate(rows):
        sequences.place(row, composition)
    before = step(adapted, sequences, 4)

    adapted.eject_adapter("lora")
    adapted.inject_adapter("lora", parse_config({**LORA, "r": 20}), seed=9)
    adapted.load_adapter_state_dict("ia3", {key: 2 * value for key, value in adapted.adapter_state_dict("ia3").items()})

    after = step(adapted, sequences, 4)
    assert_each_is_alone(adapted, after, rows)
    assert not torch.allclose(after[0], before[0])
    assert torch.equal(after[1], before[1])


def test_a_step_with_an_ejected_adapter_is_refused() -> None:
    adapted = adapt(("lora", "other"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    sequences.place(5, {"other": 1.0})
    adapted.eject_adapter("other")
    with pytest.raises(NotFound, match="'other'"):
        step(adapted, sequences)
    sequences.clear(5)
    assert_each_is_alone(adapted, step(adapted, sequences), [{"lora": 1.0}, *[{}] * (ROWS - 1)])


def test_a_model_that_moves_to_another_dtype_goes_on() -> None:
    adapted = adapt(("lora", "dora"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    sequences.place(1, {"dora": 1.0})
    exact = step(adapted, sequences)
    adapted.module.float()
    assert_same(step(adapted, sequences), exact.float(), terms=16 + 24 + 4)


def test_what_cannot_be_answered_takes_no_row() -> None:
    adapted = adapt(("lora", "dora"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    with pytest.raises(NotFound, match="'absent'"):
        sequences.place(0, {"absent": 1.0})
    with pytest.raises(Invalid, match="don't mix"):
        sequences.place(0, {"dora": 0.5})
    assert_each_is_alone(adapted, step(adapted, sequences), [{"lora": 1.0}, *[{}] * (ROWS - 1)])


def test_a_step_says_which_adapters_never_acted() -> None:
    adapted = AdaptedModel(nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)}))
    for name in ("used", "unused"):
        adapted.inject_adapter(name, parse_config({**LORA, "target_modules": [name]}))
    sequences = adapted.sequence_routing(2)
    sequences.place(0, {"used": 1.0})
    sequences.place(1, {"unused": 1.0})
    for _ in range(2):
        with torch.inference_mode(), sequences.active(2) as made:
            adapted.module.get_submodule("used")(torch.zeros(2, 1, 4))
        assert made.inactive == adapted.note_effect(made) == {"unused"}


# ---- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0, 16_000, 30_000])
def test_rows_that_no_table_has_room_for_are_answered_as_alone(most: int) -> None:
    adapted = adapt()
    adapted.kernels = KernelTable(max_paged_bytes=most)
    sequences = adapted.sequence_routing(ROWS)
    for start in (1, 4, 8):
        rows = COMPOSITIONS[start : start + ROWS]
        for row, composition in enumerate(rows):
            sequences.place(row, composition)
        assert_each_is_alone(adapted, step(adapted, sequences), rows)


def test_prompts_are_never_answered_by_merged_copies() -> None:
    adapted = adapt(("lora",))
    adapted.kernels = KernelTable(max_merged_bytes=1 << 20)
    ids = token_ids(1, 5)
    with torch.inference_mode():
        with adapted.routed_alone({"lora": 1.0}):
            first = adapted.module(ids)
        for _ in range(12):
            with adapted.routed_whole({"lora": 1.0}):
                adapted.module(ids)
        with adapted.routed_alone({"lora": 1.0}) as made:
            hot = adapted.module(ids)
    assert made.acted == {"lora"}
    assert torch.equal(hot, first)
