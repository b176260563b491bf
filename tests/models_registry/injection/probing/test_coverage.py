"""What the probe says of models that fold, permute, sort, route and pool rows; and routing by row is never wrong."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from adapting import picture, same
from odd_models import MODELS, odd_model
from tolerance import assert_same
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.errors import Invalid
from models_registry.injection import AdaptedModel

# Modules that each model enters by row; of `Plain` and most others: both layers.
BY_ROW: Mapping[str, set[str]] = {
    "Plain": {"first", "second"},
    "FoldsTime": {"second"},
    "FoldsHeads": {"first"},
    "FoldsWindows": {"first"},
    "FoldsChannels": {"second"},
    "StepsFirst": {"second"},
    "SortsByContent": {"second"},
    "Reverses": {"second"},
    "Experts": set(),
    "TokenExperts": set(),
    "CallsTwice": {"first", "second"},
    "CallsTwiceDifferently": {"second"},
    "Loops": {"first", "second"},
    "LoopsOverRows": set(),
    "LoopsOverSteps": {"first", "second"},
    "WithoutBatch": set(),
    "Pools": set(),
    "ScalarBesideRows": set(),
    "Scalar": set(),
    "Similarities": set(),
    "Recurrent": {"first", "second"},
    "LastState": {"first", "second"},
    "RecurrentStepsFirst": {"first", "second"},
    "Shares": {"first", "second"},
    "Convolves": {"first", "norm", "second"},
    "ChoosesSteps": set(),
    "SharedMask": {"first", "second", "mixer.inner"},
    "TableForEachRow": {"first", "second", "turner", "turner.inner"},
}
UNDECIDED = {"Experts": {"gate"}, "TokenExperts": set[str]()}
"""Whether rows stay rows there depends on the weights of the gate; the gate itself sees them all."""


def inputs(rows: int, steps: int = 5, seed: int = 1) -> dict[str, Tensor]:
    return {"x": torch.randn(rows, steps, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)}


def probed(model: nn.Module, rows: Mapping[str, Tensor]) -> AdaptedModel:
    adapted = AdaptedModel(model)
    adapted.probe(lambda batch: model(**batch), rows)
    return adapted


@pytest.mark.parametrize("rows", [1, 3, 5])
@pytest.mark.parametrize("name", BY_ROW)
def test_a_module_is_entered_by_row_or_not(name: str, rows: int) -> None:
    """Also where there are as many rows as steps, probed with one row or with several."""
    reach = probed(odd_model(name), inputs(rows)).profile.coverage
    assert reach is not None
    if name in UNDECIDED:
        assert reach.by_row >= UNDECIDED[name]
    else:
        assert reach.by_row == BY_ROW[name]


@pytest.mark.parametrize("name", ["StepsFirst", "CallsTwiceDifferently", "FoldsTime", "SharedMask"])
def test_three_steps_are_not_the_three_probed_rows(name: str) -> None:
    reach = probed(odd_model(name), inputs(1, steps=3)).profile.coverage
    assert reach is not None
    assert reach.by_row == BY_ROW[name]


CONFIGS: Mapping[str, dict[str, Any]] = {
    "lora": {"peft_type": "LORA", "r": 2, "init_lora_weights": False},
    "ia3": {"peft_type": "IA3", "feedforward_modules": [], "init_ia3_weights": False},
    "ia3 feedforward": {"peft_type": "IA3", "init_ia3_weights": False},
    "saved": {"peft_type": "LORA", "r": 2, "init_lora_weights": False},
}


def raw_config(kind: str, targets: Sequence[str], saved: Sequence[str]) -> dict[str, Any]:
    raw = {**CONFIGS[kind], "target_modules": list(targets)}
    if kind == "ia3 feedforward":
        raw["feedforward_modules"] = list(targets)
    if kind == "saved":
        raw["modules_to_save"] = list(saved)
    return raw


def target_sets(model: nn.Module) -> list[list[str]]:
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return [list(chosen) for size in (1, len(names)) for chosen in itertools.combinations(names, size)]


def saved_beside(model: nn.Module, targets: Sequence[str]) -> list[str]:
    """Modules that no target is in."""
    return [name for name, _ in model.named_modules() if name and not any(t.startswith(name) for t in targets)]


@torch.no_grad()
def outputs(model: nn.Module, batch: Mapping[str, Tensor]) -> list[Tensor]:
    out = model(**batch)
    return [out] if isinstance(out, Tensor) else list(out)


def check_rows(adapted: AdaptedModel, names: list[str], seed: int) -> None:
    """Batches of every size up to seven, also as many as there are steps, with any composition."""
    generator = torch.Generator().manual_seed(seed)
    for rows in range(1, 8):
        batch = inputs(rows, seed=seed + rows)
        picks = torch.randint(len(names) + 1, (rows,), generator=generator).tolist()
        compositions: list[dict[str, float]] = [{names[pick]: 1.0} if pick < len(names) else {} for pick in picks]
        try:
            with adapted.routed(compositions):
                mixed = outputs(adapted.module, batch)
        except Invalid as refusal:  # content sent other rows here than the probe could see: said, not guessed
            if "can't be told apart" not in str(refusal):
                raise
            continue
        for row, composition in enumerate(compositions):
            with adapted.routed_whole(composition):
                alone = outputs(adapted.module, {name: t[row : row + 1] for name, t in batch.items()})
            for together, single in zip(mixed, alone, strict=True):
                assert_same(together[row : row + 1], single)


def check_model(name: str, seed: int) -> int:
    """How many configs are routed by row, each of them rightly."""
    routed = 0
    for kind in CONFIGS:
        for targets in target_sets(odd_model(name)):
            model = odd_model(name, seed)
            adapted = probed(model, inputs(1 + seed % 3, seed=seed))
            raw = raw_config(kind, targets, saved_beside(model, targets))
            for number, adapter in enumerate(("a", "b")):
                checkpoint = adapted.inject_adapter(adapter, parse_config(raw), seed=number)
                moved = {k: t + 0.3 * (number + 1) for k, t in checkpoint.tensors.items() if t.is_floating_point()}
                adapted.load_adapter_state_dict(adapter, {**checkpoint.tensors, **moved})
            if adapted.routes_rows(["a", "b"]):
                check_rows(adapted, ["a", "b"], seed)
                routed += 1
    return routed


@pytest.mark.parametrize("name", MODELS)
def test_whenever_rows_are_routed_each_equals_its_solo_run(name: str) -> None:
    routed = check_model(name, seed=0)
    if name not in UNDECIDED:
        assert bool(routed) == bool(BY_ROW[name])


# A base model whose rows see each other for some contents only may hide it from a few forwards.
PROVEN = sorted(MODELS.keys() - {"ChoosesSteps"})


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(1, 40))
@pytest.mark.parametrize("name", PROVEN)
def test_whenever_rows_are_routed_each_equals_its_solo_run_for_any_weights(name: str, seed: int) -> None:
    check_model(name, seed)


def test_a_model_that_fails_on_the_probed_rows_stays_unknown() -> None:
    adapted = probed(odd_model("Plain"), {"x": torch.ones(1, 5, 3, dtype=torch.float64)})
    adapted.inject_adapter("a", parse_config(raw_config("lora", ["first"], [])))
    assert not adapted.routes_rows(["a"])
    assert adapted.routes_rows([])


def test_the_probe_leaves_no_hook_and_no_mark() -> None:
    model = odd_model("Recurrent")
    before = picture(model)
    probed(model, inputs(2))
    assert same(picture(model), before)


class _AlmostAlike(nn.Module):
    """Its scores are alike in all rows, and are rounded in another way in a batch than in a row alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, dtype=torch.float64)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        rounding = 8 * torch.finfo(x.dtype).eps * (len(x) > 1)
        return {"y": self.first(x), "score": x.new_full((len(x),), 0.3 * (1 + rounding))}


def test_outputs_that_are_alike_in_all_rows_but_for_rounding_mix_no_rows() -> None:
    adapted = probed(_AlmostAlike(), inputs(3))
    coverage = adapted.profile.coverage
    assert coverage is not None
    assert coverage.by_row == {"first"}
