"""Every kernel gives every row what its solo run gives, whatever stands beside it, at every forward of a routing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from tolerance import assert_same
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel, Composition
from models_registry.injection.kernels.kernel_table import KernelTable

TARGETS = ["one", "two", "embedding", "convolution"]
LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "init_lora_weights": False, "target_modules": TARGETS}
LINEAR: dict[str, Any] = {**LORA, "target_modules": ["one", "two"]}
ADAPTERS: Mapping[str, dict[str, Any]] = {
    "lora": LORA,
    "wide": {**LORA, "r": 5, "lora_alpha": 3},
    "stable": {**LINEAR, "r": 3, "use_rslora": True},
    "patterned": {**LINEAR, "rank_pattern": {"one": 7}, "alpha_pattern": {"two": 1}},
    "partial": {**LORA, "target_modules": ["two"]},
    "dora": {**LINEAR, "use_dora": True},
    "biased": {**LINEAR, "lora_bias": True},
    "ada": {
        "peft_type": "ADALORA",
        "init_r": 3,
        "lora_alpha": 2,
        "init_lora_weights": False,
        "target_modules": ["two"],
    },
    "ia3": {
        "peft_type": "IA3",
        "target_modules": ["one", "two"],
        "feedforward_modules": ["two"],
        "init_ia3_weights": False,
    },
}
IA3 = ADAPTERS["ia3"]
RESCALERS: Mapping[str, dict[str, Any]] = {f"ia3 {n}": {**IA3, "feedforward_modules": []} for n in range(4)} | {
    "ia3 of inputs": {**IA3, "target_modules": ["two"], "feedforward_modules": ["two"]}
}
SEGMENTS, STACKED = KernelTable({}), KernelTable({1: 1 << 30})
NO_ROOM = KernelTable({1: 1 << 30}, max_stacked_bytes=0)
SOME_ROOM = KernelTable({1: 1 << 30}, max_stacked_bytes=3000)
TABLES = {
    "segments": SEGMENTS,
    "stacked": STACKED,
    "no room": NO_ROOM,
    "some room": SOME_ROOM,
    "typical": KernelTable(),
}
FORWARDS = 3
BATCHES: Mapping[str, Sequence[Composition]] = {
    "equally many rows": [{"lora": 1.0}, {"lora": 1.0}, {"wide": 1.0}, {"wide": 1.0}, {"stable": 1.0}, {"stable": 1.0}],
    "one adapter for all": [{"wide": 1.0}] * 4,
    "one row each": [{"lora": 1.0}, {"wide": 1.0}, {"stable": 1.0}, {"patterned": 1.0}, {"ada": 1.0}],
    "uneven": [{"lora": 1.0}] * 4 + [{"wide": 1.0}] + [{"stable": 1.0}] * 2,
    "the base between": [{"lora": 1.0}, {}, {"wide": 1.0}, {"wide": 1.0}, {}],
    "the base around": [{}, {"lora": 1.0}, {"wide": 1.0}, {}],
    "unsorted": [{"lora": 1.0}, {"wide": 1.0}, {"lora": 1.0}, {}, {"lora": 1.0}],
    "weights": [{"lora": 0.5}, {"lora": -2.0}, {"wide": 0.1}, {"lora": 0.0}],
    "compositions": [{"lora": 0.5, "wide": 0.5}, {"lora": 1.0}, {"stable": 1.0, "ada": -1.0, "wide": 0.3}],
    "every method": [{name: 1.0} for name in ADAPTERS] + [{}],
    "every method twice": [{name: 1.0} for name in ADAPTERS for _ in range(2)],
    "many rescalers": [{name: 1.0} for name in RESCALERS] + [{}, {"lora": 1.0}, {"ia3 0": 1.0}, {"dora": 1.0}],
    "parts of the model": [{"partial": 1.0}, {"lora": 1.0}, {"partial": 1.0}, {"ada": 1.0}],
}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.one = nn.Linear(6, 8)
        self.two = Conv1D(6, 8)
        self.convolution = nn.Conv1d(6, 4, 3, padding=1)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.two(torch.tanh(self.one(self.embedding(ids))))
        return self.convolution(x.transpose(1, 2))


def adapt(kernels: KernelTable, dtype: torch.dtype = torch.float64) -> AdaptedModel:
    torch.manual_seed(0)
    adapted = AdaptedModel(Model().eval().to(dtype))
    for seed, (name, raw) in enumerate((*ADAPTERS.items(), *RESCALERS.items())):
        adapted.inject_adapter(name, parse_config(raw), seed=seed)
    adapted.kernels = kernels
    return adapted


@pytest.fixture(scope="module")
def shared() -> AdaptedModel:
    """For tests that inject nothing; each chooses its kernels."""
    return adapt(SEGMENTS)


def token_ids(rows: int, tokens: int = 3) -> Tensor:
    return torch.arange(rows * tokens).view(rows, tokens) % 11


@torch.no_grad()
def forwards(adapted: AdaptedModel, compositions: Sequence[Composition], ids: Tensor) -> list[Tensor]:
    """Several under one routing, as a generation's are."""
    with adapted.routed(compositions):
        return [adapted.module(ids) for _ in range(FORWARDS)]


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("compositions", BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize("kernels", TABLES.values(), ids=TABLES.keys())
def test_each_row_is_its_solo_run_at_every_forward(
    shared: AdaptedModel, kernels: KernelTable, compositions: Sequence[Composition], tokens: int
) -> None:
    adapted = shared
    adapted.kernels = kernels
    ids = token_ids(len(compositions), tokens)
    with torch.no_grad():
        plain = adapted.module(ids)
    together = forwards(adapted, compositions, ids)
    adapted.kernels = SEGMENTS
    for row, composition in enumerate(compositions):
        alone = forwards(adapted, [composition], ids[row : row + 1])[0]
        acts = any(composition.values())
        for out in together:
            assert_same(out[row : row + 1], alone)
            assert torch.equal(out[row], plain[row]) is not acts


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("compositions", BATCHES.values(), ids=BATCHES.keys())
def test_stacks_round_as_segments_do(dtype: torch.dtype, compositions: Sequence[Composition]) -> None:
    """At one target, where no rounding grows: both sum up in float32 and round once, so they are one step apart."""
    adapted = adapt(STACKED, dtype)
    x = torch.randn(len(compositions), 2, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    layer = adapted.module.get_submodule("one")
    with torch.no_grad(), adapted.routed(compositions):
        first, second, third = (layer(x) for _ in range(FORWARDS))
    assert first.dtype == second.dtype == dtype
    assert torch.equal(second, third)
    assert_same(first, second, terms=None if dtype == torch.float64 else 1)


class Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


def operations(adapted: AdaptedModel, compositions: Sequence[Composition]) -> list[int]:
    """Of each forward under one routing, on two linear layers."""
    x = torch.zeros(len(compositions), 1, 6, dtype=torch.float64)
    counts: list[int] = []
    with torch.no_grad(), adapted.routed(compositions):
        for _ in range(FORWARDS):
            with Count() as count:
                adapted.module.get_submodule("two")(adapted.module.get_submodule("one")(x))
            counts.append(count.operations)
    return counts


def many(count: int, kernels: KernelTable, raw: Mapping[str, Any] = LINEAR) -> AdaptedModel:
    adapted = AdaptedModel(Model().double().eval())
    for number in range(count):
        adapted.inject_adapter(str(number), parse_config(raw), seed=number)
    adapted.kernels = kernels
    return adapted


def test_stacked_adapters_cost_as_many_operations_however_many_they_are() -> None:
    adapted = many(16, STACKED)
    counts = {used: operations(adapted, [{str(n % used): 1.0} for n in range(16)])[-1] for used in (2, 4, 16)}
    assert len(set(counts.values())) == 1
    in_segments = operations(many(16, SEGMENTS), [{str(n): 1.0} for n in range(16)])[-1]
    assert in_segments > 4 * counts[16]


def test_rescaling_for_many_adapters_costs_as_many_operations_as_for_a_few() -> None:
    adapted = many(16, SEGMENTS, RESCALERS["ia3 0"])
    counts = {used: operations(adapted, [{str(n % used): 1.0} for n in range(16)])[-1] for used in (4, 16)}
    assert counts[4] == counts[16]


@pytest.mark.parametrize("kernels", [SEGMENTS, STACKED], ids=["segments", "stacked"])
def test_injected_adapters_that_a_batch_does_not_use_cost_it_nothing(kernels: KernelTable) -> None:
    compositions: list[Composition] = [{"0": 1.0}, {"1": 1.0}, {}]
    assert operations(many(2, kernels), compositions) == operations(many(40, kernels), compositions)


def test_one_forward_alone_copies_nothing() -> None:
    """The first forward of a routing is as one without stacks; the second makes them; the third only uses them."""
    compositions: list[Composition] = [{"0": 1.0}, {"1": 1.0}]
    first, second, third = operations(many(2, STACKED), compositions)
    assert first == operations(many(2, SEGMENTS), compositions)[0]
    assert second > third
    assert operations(many(2, NO_ROOM), compositions) == [first] * FORWARDS


def test_adapters_that_change_inside_a_block_act_as_they_are_now() -> None:
    adapted = many(2, STACKED)
    ids = token_ids(2)
    with torch.no_grad(), adapted.routed([{"0": 1.0}, {"1": 1.0}]):
        before = [adapted.module(ids) for _ in range(FORWARDS)][-1]
        adapted.eject_adapter("0")
        adapted.inject_adapter("0", parse_config(LINEAR), seed=9)
        replaced = [adapted.module(ids) for _ in range(FORWARDS)]
        adapted.module.to(torch.float32)
        moved = [adapted.module(ids) for _ in range(FORWARDS)]
    assert not torch.allclose(replaced[0][0], before[0])
    assert_same(replaced[0][1], before[1])
    for out in replaced:
        assert_same(out, replaced[0])
    for out in moved:
        assert_same(out, replaced[0].float(), terms=6 + 8 + 3 * 6)


def test_one_block_takes_batches_of_several_lengths() -> None:
    """A prompt, then its tokens one by one."""
    adapted = adapt(KernelTable({1: 2}))
    compositions: list[Composition] = [{"lora": 1.0}, {"wide": 1.0}, {"lora": 0.5, "wide": 1.0}]
    prompt = token_ids(3, 5)
    with torch.no_grad(), adapted.routed(compositions):
        outs = [(adapted.module(ids), ids) for ids in (prompt, prompt[:, :1], prompt[:, 1:2], prompt, prompt[:, :1])]
        assert adapted.module.get_submodule("one")(torch.zeros(3, 0, 6, dtype=torch.float64)).shape == (3, 0, 8)
    adapted.kernels = SEGMENTS
    for out, ids in outs:
        assert_same(out, forwards(adapted, compositions, ids)[0])


def test_stacks_made_in_inference_mode_serve_forwards_that_track_gradients() -> None:
    adapted = many(2, STACKED)
    layer = adapted.module.get_submodule("one")
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    with adapted.routed([{"0": 1.0}, {"1": 1.0}]):
        with torch.inference_mode():
            inferred = [layer(x) for _ in range(FORWARDS)][-1]
        tracked = layer(x)
    tracked.sum().backward()
    assert x.grad is not None
    assert_same(tracked.detach(), inferred.clone())


def test_stacks_run_under_autocast() -> None:
    adapted = many(2, STACKED)
    adapted.module.float()  # autocast lets float64 be
    compositions: list[Composition] = [{"0": 1.0}, {"1": 1.0}]
    layer = adapted.module.get_submodule("one")
    x = torch.randn(2, 3, 6)
    with torch.no_grad(), adapted.routed(compositions):
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            outs = [layer(x) for _ in range(FORWARDS)]
    for out in outs:
        assert_same(out, exact.to(torch.bfloat16), terms=6 + 2)


def test_pruned_adapters_of_rank_nothing_can_be_stacked() -> None:
    adapted = AdaptedModel(Model().double().eval())
    config = parse_config({**ADAPTERS["ada"], "rank_pattern": {"two.lora_E": [False] * 3}})
    shapes = {"two.lora_A": (0, 8), "two.lora_B": (6, 0), "two.lora_E": (0, 1)}
    adapted.inject_adapter("none", config, {key: torch.zeros(shape) for key, shape in shapes.items()})
    adapted.kernels = STACKED
    ids = token_ids(2)
    with torch.no_grad():
        plain = adapted.module(ids)
    for out in forwards(adapted, [{"none": 1.0}] * 2, ids):
        assert torch.equal(out, plain)
