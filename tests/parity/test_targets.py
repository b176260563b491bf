"""The modules that a config targets, and what they compute, on real architectures: as PEFT has it."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import peft
import pytest
from parity.architectures import BUILDERS, architecture, token_ids
from parity.oracle import (
    assert_differs,
    assert_same_tensors,
    ours,
    peft_config,
    peft_model,
    peft_state,
    peft_targets,
    run,
    run_ours,
)
from peft.utils import constants
from tolerance import assert_same
from torch import nn

from models_registry.adapters import defaults
from models_registry.adapters.catalog import parse_config
from models_registry.adapters.targets import complete_config, resolve_targets
from models_registry.architecture import describe
from models_registry.errors import Invalid

LORA: Mapping[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 5}
ADALORA: Mapping[str, Any] = {"peft_type": "ADALORA", "init_r": 3, "target_r": 2, "total_step": 10}
IA3: Mapping[str, Any] = {"peft_type": "IA3"}

ALL_LINEAR: Mapping[str, Mapping[str, Any]] = {
    "all-linear": {"target_modules": "all-linear"},
    "all-linear classifier": {"target_modules": "All-Linear", "task_type": "SEQ_CLS"},
    "all-linear without": {"target_modules": "all-linear", "exclude_modules": r".*\.0\..*"},
}
LLAMA: Mapping[str, Mapping[str, Any]] = {
    "names": {"target_modules": ["q_proj", "down_proj"]},
    "whole name": {"target_modules": ["model.layers.1.mlp.up_proj"]},
    "dotted names": {"target_modules": ["self_attn.q_proj", "1.mlp.up_proj"]},
    "embedding and head": {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
    "expression": {"target_modules": r"model\.layers\.[02]\.self_attn\.(q|k)_proj"},
    "expression by its end": {"target_modules": r".*\.(up|gate)_proj"},
    "excluded names": {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["layers.1.self_attn.q_proj"]},
    "excluded expression": {"target_modules": ["q_proj"], "exclude_modules": r"model\.layers\.[01]\..*"},
    "layers": {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0, 2]},
    "one layer": {"target_modules": ["q_proj"], "layers_to_transform": 1},
    "layer zero": {"target_modules": ["q_proj"], "layers_to_transform": 0},
    "no layers means all": {"target_modules": ["q_proj"], "layers_to_transform": []},
    "layers and pattern": {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "layers and patterns": {
        "target_modules": ["q_proj"],
        "layers_to_transform": [1],
        "layers_pattern": ["h", "layers"],
    },
    "layer zero and pattern": {
        "target_modules": ["q_proj"],
        "layers_to_transform": [0],
        "layers_pattern": ["layers"],
    },
    "whole name beyond the layers": {
        "target_modules": ["model.layers.0.self_attn.q_proj", "v_proj"],
        "layers_to_transform": [2],
    },
    "ranks": {
        "target_modules": ["q_proj", "v_proj", "down_proj"],
        "rank_pattern": {"q_proj": 3, "layers.1.mlp.down_proj": 4},
    },
    "ranks by expression": {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {r"layers\.[01].*": 3}},
    "ranks by the start": {
        "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {"^model.layers.0.self_attn.q_proj": 3},
    },
    "first rank wins": {"target_modules": ["q_proj"], "rank_pattern": {"q_proj": 3, "layers.1.self_attn.q_proj": 4}},
    "alphas": {
        "target_modules": ["q_proj", "v_proj"],
        "alpha_pattern": {"v_proj": 1, "layers.0.self_attn.q_proj": 9.5},
    },
    "ranks and alphas": {
        "target_modules": ["q_proj", "v_proj"],
        "use_rslora": True,
        "rank_pattern": {"q_proj": 3},
        "alpha_pattern": {"q_proj": 7},
    },
    "dropout is for training": {"target_modules": ["q_proj"], "lora_dropout": 0.5},
    "float alpha": {"target_modules": ["q_proj"], "lora_alpha": 2.5},
    "negative alpha": {"target_modules": ["q_proj"], "lora_alpha": -3},
}
NOT_LORAS = ("ranks", "ranks by expression", "ranks by the start", "first rank wins", "ranks and alphas")


def cases() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(id, architecture, raw config)."""
    for name in BUILDERS:
        for label, fields in ALL_LINEAR.items():
            yield f"lora {label} {name}", name, {**LORA, **fields}
        yield f"adalora all-linear {name}", name, {**ADALORA, "target_modules": "all-linear"}
        yield f"ia3 all-linear {name}", name, {**IA3, "target_modules": "all-linear", "feedforward_modules": []}
        kind = str(architecture(name).config.model_type)
        for raw, table in ((LORA, defaults.LORA), (ADALORA, defaults.ADALORA), (IA3, defaults.IA3)):
            if kind in table:
                yield f"default {raw['peft_type'].lower()} {name}", name, raw
    for label, fields in LLAMA.items():
        yield f"lora {label}", "llama", {**LORA, **fields}
        if label not in NOT_LORAS and label != "embedding and head":
            yield f"adalora {label}", "llama", {**ADALORA, **fields}
    mlp = {"target_modules": ["k_proj", "down_proj"]}
    yield "ia3 names", "llama", {**IA3, **mlp, "feedforward_modules": ["down_proj"]}
    yield "ia3 expressions", "llama", {**IA3, "target_modules": r".*_proj", "feedforward_modules": r".*\.down_proj"}
    yield "ia3 excluded", "llama", {**IA3, **mlp, "feedforward_modules": [], "exclude_modules": r".*\.1\..*"}
    yield "ia3 default feedforward", "llama", {**IA3, **mlp}
    yield "ia3 gpt2", "gpt2", {**IA3, "target_modules": ["c_attn", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"]}
    yield "lora gpt2", "gpt2", {**LORA, "target_modules": ["c_attn", "c_fc", "wte", "wpe", "lm_head"]}
    yield "lora bart embeddings", "bart", {**LORA, "target_modules": ["shared", "fc1"]}
    yield "lora bert", "bert", {**LORA, "target_modules": ["word_embeddings", "query", "pooler.dense"]}


CASES = {label: (name, raw) for label, name, raw in cases()}


@pytest.mark.parametrize(("name", "raw"), CASES.values(), ids=CASES.keys())
def test_the_targets_are_pefts_and_compute_the_same(name: str, raw: Mapping[str, Any]) -> None:
    base, inputs = architecture(name), token_ids(name)
    theirs = peft_model(base, raw)
    adapted = ours(base, raw, peft_state(theirs))
    assert {target.name for target in adapted.checkpoint("x").targets} == peft_targets(theirs)
    expected = run(theirs, inputs)
    actual = run_ours(adapted, inputs)
    assert_same(actual, expected)
    assert_differs(expected, run(base, inputs))
    assert_same_tensors(adapted.adapter_state_dict("x"), peft_state(theirs))


DEEP = {
    f"{raw['peft_type']} {targets} {exclude} {layers} {name}": (name, raw, targets, exclude, layers)
    for name in BUILDERS
    for raw in (LORA, ADALORA, {**IA3, "feedforward_modules": []})
    for targets in (
        r".*",
        r".*\d\..*",
        "all-linear",
        ("query", "q_proj"),
        ("dense", "fc1", "c_fc"),
        ("0",),
        ("wo", "o"),
    )
    for exclude in (None, r".*\.1\..*", ("output.dense", "v_proj"))
    for layers in ((None,) if raw["peft_type"] == "IA3" else (None, (1,), (0, 1)))
}


@pytest.mark.deep
@pytest.mark.parametrize(("name", "raw", "targets", "exclude", "layers"), DEEP.values(), ids=DEEP.keys())
def test_we_target_what_peft_targets_or_say_why_not(
    name: str, raw: Mapping[str, Any], targets: Any, exclude: Any, layers: tuple[int, ...] | None
) -> None:
    """Where we refuse, PEFT refuses too, or passes something over in silence that we name."""
    raw = {**raw, "target_modules": _listed(targets), "exclude_modules": _listed(exclude)}
    if raw["peft_type"] != "IA3":
        raw["layers_to_transform"] = _listed(layers)
    base = architecture(name)
    found = _found(base, raw)
    try:
        targeted = peft_targets(peft.inject_adapter_in_model(peft_config(raw), copy.deepcopy(base)))
    except (ValueError, RuntimeError, AttributeError):
        assert isinstance(found, Invalid)
        return
    if isinstance(found, Invalid):
        assert found.faults or found.__cause__
        silent = ("matches none of", "has no layer", "can't adapt", "goes with a list")
        assert any(word in fault.message for fault in found.faults for word in silent)
    else:
        assert found == targeted


def _found(base: nn.Module, raw: Mapping[str, Any]) -> set[str] | Invalid:
    modules = describe(base)
    try:
        config = complete_config(parse_config(raw), modules)
        return {target.name for target in resolve_targets(config, modules)}
    except Invalid as refusal:
        return refusal


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    ("table", "theirs"),
    [
        (defaults.LORA, constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING),
        (defaults.ADALORA, constants.TRANSFORMERS_MODELS_TO_ADALORA_TARGET_MODULES_MAPPING),
        (defaults.IA3, constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING),
        (defaults.FEEDFORWARD, constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING),
    ],
    ids=["LORA", "ADALORA", "IA3", "feedforward"],
)
def test_the_default_tables_hold_pefts_facts(table: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    def normal(entries: Any) -> Any:
        return entries if isinstance(entries, str) else sorted(set(entries))

    assert {key: normal(value) for key, value in table.items()} == {key: normal(v) for key, v in theirs.items()}
