"""Mixed batches on smollm2 over the bare model's own forward: 16 rows of 1, 4 or 16 distinct rank-16 LoRA adapters.

Prefill is 16 x 64 tokens, one forward. Decode is a generation's 32 steps on a cache of 64 tokens, what its first steps
lay out for the others included. Rows come sorted by adapter, as the engine sorts them. Last, one hot adapter that is
answered by merged copies (float32 only).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel, Composition
from models_registry.injection.kernels.kernel_table import KernelTable
from tests.bench.figures import Figure, medians

Forward: TypeAlias = Callable[[], object]

ROWS, TOKENS, STEPS, RANK, ROUNDS = 16, 64, 32, 16, 7
GOALS = {
    ("prefill", torch.float32): {1: 1.02, 4: 1.05, 16: 1.08},
    ("prefill", torch.bfloat16): {1: 1.05, 4: 1.20, 16: 1.30},
    ("decode", torch.float32): {1: 1.05, 4: 1.10, 16: 1.30},
    ("decode", torch.bfloat16): {1: 1.10, 4: 1.30, 16: 1.45},
}
LORA = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "target_modules": "all-linear", "init_lora_weights": False}
ADALORA = {**LORA, "peft_type": "ADALORA", "init_r": RANK}
IA3 = {"peft_type": "IA3", "target_modules": ["k_proj", "v_proj", "down_proj"], "init_ia3_weights": False}
SHARE = 0.3
"""Of the hot adapter: with weights that large it would be larger than the base, and not be merged."""
WARM_UP = 64
"""Routings after which all of a hot adapter is merged."""


def mixing(directory: Path) -> Iterator[Figure]:
    for dtype in (torch.float32, torch.bfloat16):
        bare, adapted = _load(directory, dtype), AdaptedModel(_load(directory, dtype))
        adapted.calibrate()
        for number in range(ROWS):
            adapted.inject_adapter(f"a{number}", parse_config(LORA), seed=number)
        for work, forward in (("prefill", _prefill), ("decode", _decode)):
            yield from _figures(adapted, work, forward(bare), forward(adapted.module), dtype)
        yield from _methods(adapted, _prefill(adapted.module), dtype)
        if dtype == torch.float32:
            yield from _hot(adapted, bare)


def _figures(
    adapted: AdaptedModel, work: str, alone: Forward, forward: Forward, dtype: torch.dtype
) -> Iterator[Figure]:
    works = {"base": alone}
    works |= {str(n): _routed(adapted, _rows([f"a{i}" for i in range(n)]), forward) for n in (1, 4, 16)}
    taken = medians(works, ROUNDS)
    for n, goal in GOALS[work, dtype].items():
        yield Figure(f"{work}, {dtype}, {n} adapters", "the base alone", taken[str(n)], taken["base"], goal)


def _methods(adapted: AdaptedModel, forward: Forward, dtype: torch.dtype) -> Iterator[Figure]:
    adapted.inject_adapter("ada", parse_config(ADALORA), seed=1)
    adapted.inject_adapter("ia3", parse_config(IA3), seed=1)
    mixed = _routed(adapted, _rows(["a0", "a1", "ada", "ia3"]), forward)
    lora = _routed(adapted, _rows(["a0", "a1", "a2", "a3"]), forward)
    taken = medians({"mixed": mixed, "lora": lora}, ROUNDS)
    yield Figure(f"prefill, {dtype}, LoRA + AdaLoRA + IA3", "4 LoRA adapters", taken["mixed"], taken["lora"], 1.05)


def _hot(adapted: AdaptedModel, bare: PreTrainedModel) -> Iterator[Figure]:
    adapted.kernels = KernelTable(max_merged_bytes=1 << 30)
    for work, forward in (("prefill", _prefill), ("decode", _decode)):
        hot = _whole(adapted, {"a0": SHARE}, forward(adapted.module))
        for _ in range(WARM_UP):
            with adapted.routed_whole({"a0": SHARE}):
                pass
        taken = medians({"hot": hot, "base": forward(bare)}, ROUNDS)
        name = f"{work}, torch.float32, one hot adapter, merged"
        yield Figure(name, "the base alone", taken["hot"], taken["base"], 1.0)


def _load(directory: Path, dtype: torch.dtype) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    return model.eval().requires_grad_(False)


def _rows(names: list[str]) -> list[Composition]:
    return [{name: 1.0} for name in names for _ in range(ROWS // len(names))]


def _routed(adapted: AdaptedModel, rows: list[Composition], forward: Forward) -> Forward:
    def run() -> None:
        with adapted.routed(rows):
            forward()

    return run


def _whole(adapted: AdaptedModel, composition: Composition, forward: Forward) -> Forward:
    def run() -> None:
        with adapted.routed_whole(composition):
            forward()

    return run


def _prefill(model: Any) -> Forward:
    ids = torch.randint(0, model.config.vocab_size, (ROWS, TOKENS))
    run: Any = torch.inference_mode()(model)
    return lambda: run(input_ids=ids, use_cache=False, logits_to_keep=1)


def _decode(model: Any) -> Forward:
    ids = torch.randint(0, model.config.vocab_size, (ROWS, TOKENS + 1))
    cache = DynamicCache(config=model.config)
    run: Any = torch.inference_mode()(model)
    run(input_ids=ids[:, :TOKENS], past_key_values=cache, use_cache=True)

    def steps() -> None:
        for _ in range(STEPS):
            run(input_ids=ids[:, TOKENS:], past_key_values=cache, use_cache=True)
            cache.crop(-1)

    return steps
