"""Rows that join, move and leave one routing: each is answered as it would be alone, and costs only what is new."""

import random

import pytest
import torch
from tolerance import assert_same

from models_registry.injection import AdaptedModel, Composition
from models_registry.injection.kernels.kernel_table import KernelTable
from tests.models_registry.injection.routing.sequences import (
    COMPOSITIONS,
    ROWS,
    adapt,
    assert_each_is_alone,
    step,
    token_ids,
)


@pytest.fixture(scope="module")
def shared() -> AdaptedModel:
    """For tests that inject nothing."""
    return adapt()


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


# ---- adapters that change -------------------------------------------------------------------------------------------


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


def test_copies_are_counted_and_given_up_at_any_step() -> None:
    adapted = adapt()
    sequences = adapted.sequence_routing(ROWS)
    rows = COMPOSITIONS[1 : 1 + ROWS]
    for row, composition in enumerate(rows):
        sequences.place(row, composition)
    assert (sequences.bytes, sequences.release()) == (0, False)
    before = step(adapted, sequences)
    held = sequences.bytes
    assert 0 < held <= adapted.kernels.max_paged_bytes
    assert sequences.release()
    assert sequences.bytes == 0
    assert torch.equal(step(adapted, sequences), before)
    assert sequences.bytes == held


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
