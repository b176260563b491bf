"""A routing belongs to whoever runs the forward: threads, tasks and other models never see it."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from bases import DummyModel
from tolerance import assert_same
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel
from models_registry.injection.kernels.kernel_table import KernelTable
from models_registry.injection.routing.routing import route_rows, route_whole
from models_registry.injection.routing.segment import EVERY_ROW, Segment

IDS = torch.arange(6).view(2, 3)
NAMES = ("a", "b", "c")
PATIENCE_S = 30
KERNELS = KernelTable()


@pytest.fixture
def adapted() -> AdaptedModel:
    torch.manual_seed(0)
    adapted = AdaptedModel(DummyModel().double().eval())
    for seed, name in enumerate(NAMES):
        raw = {"peft_type": "LORA", "target_modules": ["linear"], "init_lora_weights": False}
        adapted.inject_adapter(name, parse_config(raw), seed=seed)
    return adapted


@torch.no_grad()
def forward(model: nn.Module) -> Tensor:
    return model(IDS)


def solo(adapted: AdaptedModel) -> dict[str | None, Tensor]:
    outputs: dict[str | None, Tensor] = {None: forward(adapted.module)}
    for name in NAMES:
        with adapted.routed_whole({name: 1.0}):
            outputs[name] = forward(adapted.module)
    return outputs


def composition_of(name: str | None) -> Mapping[str, float]:
    return {} if name is None else {name: 1.0}


def test_neighbouring_rows_of_one_composition_make_a_segment() -> None:
    a, b = {"a": 1.0}, {"a": 1.0, "b": 0.5}
    made = route_rows([a, a, {}, b, a], KERNELS)
    assert made.rows == 5
    assert made.segments == (
        Segment(slice(0, 2), (("a", 1.0),)),
        Segment(slice(3, 4), (("a", 1.0), ("b", 0.5))),
        Segment(slice(4, 5), (("a", 1.0),)),
    )
    assert route_rows([{}, {}], KERNELS).segments == ()
    assert route_rows([], KERNELS).rows == 0


def test_one_composition_for_everything_looks_for_no_rows() -> None:
    made = route_whole({"a": 0.5}, KERNELS)
    assert (made.rows, made.segments) == (None, (Segment(EVERY_ROW, (("a", 0.5),)),))
    assert route_whole({}, KERNELS).segments == ()


def test_the_same_adapter_at_two_weights_makes_two_segments() -> None:
    assert len(route_rows([{"a": 1.0}, {"a": 0.5}], KERNELS).segments) == 2


def test_a_routing_ends_with_its_block_also_after_an_error(adapted: AdaptedModel) -> None:
    plain = forward(adapted.module)
    with pytest.raises(ZeroDivisionError), adapted.routed_whole({"a": 1.0}):
        raise ZeroDivisionError
    assert torch.equal(forward(adapted.module), plain)


def test_an_inner_block_wins_and_the_outer_comes_back(adapted: AdaptedModel) -> None:
    expected = solo(adapted)
    with adapted.routed_whole({"a": 1.0}):
        with adapted.routed([{"b": 1.0}, {}]):
            inner = forward(adapted.module)
        assert torch.equal(forward(adapted.module), expected["a"])
        with adapted.routed_whole({}):
            assert torch.equal(forward(adapted.module), expected[None])
    assert expected["b"] is not None
    assert_same(inner[0], expected["b"][0])
    assert torch.equal(inner[1], expected[None][1])


def test_a_routing_is_for_the_model_that_it_was_made_for(adapted: AdaptedModel) -> None:
    other = AdaptedModel(DummyModel().double().eval())
    raw = {"peft_type": "LORA", "target_modules": ["linear"], "init_lora_weights": False}
    other.inject_adapter("a", parse_config(raw), seed=9)
    theirs = forward(other.module)
    expected = solo(adapted)
    with adapted.routed_whole({"a": 1.0}):
        assert torch.equal(forward(other.module), theirs)
        with other.routed_whole({"a": 1.0}):
            assert not torch.allclose(forward(other.module), theirs)
            assert torch.equal(forward(adapted.module), expected["a"])


def test_threads_that_are_inside_at_once_get_their_own_adapters(adapted: AdaptedModel) -> None:
    """A barrier holds every thread inside its block until all are, before each forward."""
    expected = solo(adapted)
    names = [None, *NAMES]
    barrier = threading.Barrier(len(names))

    def work(name: str | None) -> list[Tensor]:
        outputs: list[Tensor] = []
        for _ in range(5):
            with adapted.routed_whole(composition_of(name)):
                barrier.wait(PATIENCE_S)
                outputs.append(forward(adapted.module))
                barrier.wait(PATIENCE_S)
        return outputs

    with ThreadPoolExecutor(len(names)) as pool:
        for name, outputs in zip(names, pool.map(work, names), strict=True):
            assert all(torch.equal(out, expected[name]) for out in outputs)


def test_forwards_that_meet_inside_the_model_get_their_own_adapters(adapted: AdaptedModel) -> None:
    """The barrier stands in the forward itself, right before the target."""
    expected = solo(adapted)
    barrier = threading.Barrier(len(NAMES))

    def meet(*_: object) -> None:
        barrier.wait(PATIENCE_S)

    hook = adapted.module.get_submodule("embedding").register_forward_hook(meet)

    def work(name: str) -> Tensor:
        with adapted.routed_whole({name: 1.0}):
            return forward(adapted.module)

    with ThreadPoolExecutor(len(NAMES)) as pool:
        outputs = dict(zip(NAMES, pool.map(work, NAMES), strict=True))
    hook.remove()
    assert all(torch.equal(outputs[name], expected[name]) for name in NAMES)


def test_a_thread_that_was_started_inside_a_block_is_the_bases(adapted: AdaptedModel) -> None:
    expected = solo(adapted)
    with adapted.routed_whole({"a": 1.0}), ThreadPoolExecutor(1) as pool:
        assert torch.equal(pool.submit(forward, adapted.module).result(), expected[None])


def test_tasks_that_take_turns_inside_their_blocks_get_their_own_adapters(adapted: AdaptedModel) -> None:
    """Each task enters, waits until all have, and only then runs its forward."""
    expected = solo(adapted)
    names = [None, *NAMES]

    async def main() -> list[Tensor]:
        inside, all_inside = 0, asyncio.Event()

        async def work(name: str | None) -> Tensor:
            nonlocal inside
            with adapted.routed_whole(composition_of(name)):
                inside += 1
                if inside == len(names):
                    all_inside.set()
                await all_inside.wait()
                return forward(adapted.module)

        return await asyncio.wait_for(asyncio.gather(*(work(name) for name in names)), PATIENCE_S)

    for name, out in zip(names, asyncio.run(main()), strict=True):
        assert torch.equal(out, expected[name])


def test_adapters_that_were_asked_for_and_never_acted_are_told(adapted: AdaptedModel) -> None:
    with adapted.routed([{"a": 1.0}, {"b": 1.0}]) as made:
        assert made.inactive == {"a", "b"}
        forward(adapted.module)
        assert made.inactive == frozenset()
        assert made.acted == {"a", "b"}
