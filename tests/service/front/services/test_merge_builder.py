"""Weighted sums of adapters: row by row at inference, and stored as a new adapter."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from engines import ADALORA, IA3, RANDOM_LORA, Running, Start, tensor
from safetensors.torch import load
from tolerance import assert_same_in_float32
from torch import Tensor

from models_registry.adapters.merge_options import COMPOSITION_METHODS, MergeOptions
from models_registry.errors import Conflict, Damaged, Invalid, NotFound
from service.front.requests import CreatedAdapter, NewComposition
from service.protocol.types import HostLimits

LAST: Mapping[str, Any] = {**RANDOM_LORA, "target_modules": ["second"]}
"""Deltas on the model's last layer add up in its output too."""
PARTS: Mapping[str, Mapping[str, Any]] = {
    "lora": LAST,
    "rslora": {**LAST, "use_rslora": True, "r": 3},
    "ada": {**ADALORA, "target_modules": ["second"], "init_lora_weights": False},
}
CAT = MergeOptions("cat")


def weightings(count: int) -> list[dict[str, float]]:
    generator = torch.Generator().manual_seed(5)
    drawn = (torch.rand(count, len(PARTS), generator=generator) * 4 - 2).tolist()
    return [dict(zip(PARTS, weights, strict=True)) for weights in drawn]


def host_parts(running: Running) -> None:
    running.host()
    for seed, (name, config) in enumerate(PARTS.items()):
        running.create(name, config, seed=seed)


def added_up(running: Running, x: Tensor, rows: list[dict[str, float]]) -> Tensor:
    """By algebra, from what the base and each adapter alone give."""
    base = running.output(None, x)
    deltas = {name: running.output(name, x) - base for name in PARTS}
    weights = {name: torch.tensor([[row.get(name, 0.0)] for row in rows]) for name in PARTS}
    return base + sum((weights[name] * deltas[name] for name in PARTS), torch.zeros(()))


def compose(
    running: Running, name: str, adapters: Mapping[str, float], options: MergeOptions = CAT, model: str = "m"
) -> CreatedAdapter:
    return running.engine.adapters.compose(NewComposition(model, name, adapters, options))


# ---- at inference -----------------------------------------------------------------------------------------------


def test_each_row_is_the_weighted_sum_that_it_asks_for(running: Running) -> None:
    host_parts(running)
    rows = [{"lora": 0.7, "ada": 0.3}, {"rslora": -1.5}, {}, {"lora": 1.0, "rslora": -2.0, "ada": 40.0}]
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    answer = running.answer(tuple(row or None for row in rows), x)
    assert_same_in_float32(tensor(answer.outputs["output"]), added_up(running, x, rows))
    assert answer.adapter[0] == {"lora@1": 0.7, "ada@1": 0.3}


def test_hundreds_of_weightings_are_served_without_reading_or_attaching_anything(running: Running) -> None:
    host_parts(running)
    resident = running.engine.models.find("m").resident
    for blob in running.blobs.iterdir():
        blob.unlink()
    rows = weightings(320)
    x = torch.randn(320, 4, generator=torch.Generator().manual_seed(1))
    served = [
        running.output(tuple(rows[start : start + 64]), x[start : start + 64]) for start in range(0, len(rows), 64)
    ]
    assert_same_in_float32(torch.cat(served), added_up(running, x, rows))
    assert sorted(running.engine.models.find("m").resident) == sorted(resident)


# ---- stored -----------------------------------------------------------------------------------------------------


def test_cat_answers_as_the_same_weights_do_at_inference(running: Running) -> None:
    host_parts(running)
    weights = {"lora": 0.7, "rslora": -0.3, "ada": 20.0}
    created = compose(running, "sum", weights)
    version = created.version
    assert (version.reference, version.method, version.targets) == ("sum@1", "LORA", ("second",))
    assert version.config["r"] == 2 + 3 + 2
    assert running.tier("sum") == "resident"
    assert_same_in_float32(running.output("sum"), running.output(weights))
    assert (running.output("sum") - running.output()).abs().max() > 1e-2


def test_the_version_says_what_it_was_made_of(running: Running) -> None:
    host_parts(running)
    version = compose(running, "sum", {"lora": 0.5, "rslora@1": 1}, MergeOptions("svd", rank=1)).version
    assert version.metadata == {
        "composed": {"adapters": {"lora@1": 0.5, "rslora@1": 1.0}, "method": "svd", "rank": 1},
    }
    assert load(running.state("sum"))["second.lora_A.weight"].shape == (1, 8)


@pytest.mark.parametrize("method", COMPOSITION_METHODS)
def test_every_method_stores_an_adapter_that_answers(running: Running, method: str) -> None:
    running.host()
    for seed, name in enumerate("ab"):
        running.create(name, seed=seed)
    options: dict[str, Any] = {"density": 0.5, "seed": 1} if method.startswith("dare") else {}
    options = {"density": 0.5} if method == "ties" else options
    assert compose(running, "sum", {"a": 1.0, "b": -0.5}, MergeOptions(method, **options)).warnings == ()  # pyright: ignore[reportArgumentType] - one of COMPOSITION_METHODS
    assert not torch.allclose(running.output("sum"), running.output())


def test_two_names_of_one_version_weigh_together(running: Running) -> None:
    host_parts(running)
    version = compose(running, "twice", {"lora": 0.5, "lora@1": 0.25}).version
    assert version.config["r"] == 2
    assert_same_in_float32(running.output("twice"), running.output({"lora": 0.75}))


def test_a_composition_is_stored_for_a_model_that_is_not_in_memory(running: Running) -> None:
    host_parts(running)
    expected = running.output({"lora": 0.5, "ada": -8.0})
    running.engine.models.unload("m")
    compose(running, "sum", {"lora": 0.5, "ada": -8.0})
    assert running.tier("sum") == "stored"
    running.engine.models.load("m")
    running.wait_for_model("m")
    assert_same_in_float32(running.output("sum"), expected)


def test_a_composition_of_compositions_is_one_too(running: Running) -> None:
    host_parts(running)
    compose(running, "inner", {"lora": 0.5, "rslora": 2.0})
    compose(running, "outer", {"inner": -1.0, "ada": 3.0})
    expected = running.output({"lora": -0.5, "rslora": -2.0, "ada": 3.0})
    assert_same_in_float32(running.output("outer"), expected)


def test_what_is_wrong_leaves_nothing_behind(running: Running) -> None:
    host_parts(running)
    running.create("ia3", IA3)
    running.host("other")
    running.create("theirs", model="other")
    before = sorted(running.blobs.iterdir())
    with pytest.raises(NotFound, match=r"'x'.*no version '7'.*belongs to model 'other'"):
        compose(running, "sum", {"x": 1.0, "lora@7": 1.0, "theirs": float("nan"), "ada": 1.0})
    with pytest.raises(NotFound, match="no base model 'nowhere'"):
        compose(running, "sum", {"lora": 1.0}, model="nowhere")
    with pytest.raises(Conflict, match="already"):
        compose(running, "lora", {"rslora": 1.0})
    with pytest.raises(Invalid, match="is no name"):
        compose(running, "no name", {"lora": 1.0})
    with pytest.raises(Invalid) as caught:
        compose(running, "sum", {"ia3": 1.0, "lora": float("inf"), "ada": 1.0}, MergeOptions("ties", density=7.0))
    places = {fault.loc for fault in caught.value.faults}
    assert places == {("density",), ("adapters", "ia3@1"), ("adapters", "lora@1"), ("adapters", "ada@1")}
    with pytest.raises(Invalid, match="at least one"):
        compose(running, "sum", {})
    assert sorted(running.blobs.iterdir()) == before
    with pytest.raises(NotFound):
        running.engine.adapters.find("sum")


def test_damaged_parts_are_not_composed(running: Running) -> None:
    host_parts(running)
    digest = running.engine.adapters.find("lora").adapter.newest.digest
    blob = running.blobs / digest
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(Damaged, match=digest):
        compose(running, "sum", {"lora": 1.0, "ada": 1.0})


def test_parts_that_are_too_large_together_are_refused_before_they_are_read(start: Start) -> None:
    running = start(HostLimits("cpu", max_adapter_bytes=500))
    host_parts(running)
    sizes = {name: running.engine.adapters.find(name).adapter.newest.bytes for name in ("lora", "rslora")}
    assert max(sizes.values()) < 500 < sum(sizes.values())
    compose(running, "one", {"lora": 1.0})
    with pytest.raises(Invalid, match=f"have {sum(sizes.values())} bytes in all, more than 500"):
        compose(running, "both", dict.fromkeys(sizes, 1.0))
