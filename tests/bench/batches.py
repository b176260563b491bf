"""Mixed batches on smollm2 over the base model's own forward: 16 rows of 1, 4 or 16 distinct rank-16 LoRA adapters.

Prefill is 16 x 64 tokens; decode is one token on a cache of 64. Rows come sorted by adapter, as the engine sorts them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel, Mixture
from tests.bench.figures import Figure, medians

ROWS, TOKENS, RANK, ROUNDS = 16, 64, 16, 7
GOALS = {
    ("prefill", torch.float32): {1: 1.02, 4: 1.05, 16: 1.08},
    ("prefill", torch.bfloat16): {1: 1.05, 4: 1.20, 16: 1.30},
    ("decode", torch.float32): {1: 1.05, 4: 1.10, 16: 1.30},
    ("decode", torch.bfloat16): {1: 1.10, 4: 1.30, 16: 1.45},
}
LORA = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "target_modules": "all-linear", "init_lora_weights": False}
ADALORA = {**LORA, "peft_type": "ADALORA", "init_r": RANK}
IA3 = {"peft_type": "IA3", "target_modules": ["k_proj", "v_proj", "down_proj"], "init_ia3_weights": False}


def mixing(directory: Path) -> Iterator[Figure]:
    for dtype in (torch.float32, torch.bfloat16):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()
        adapted = AdaptedModel(model)
        for number in range(ROWS):
            adapted.inject_adapter(f"a{number}", parse_config(LORA), seed=number)
        yield from _figures(adapted, "prefill", _prefill(model), dtype)
        yield from _figures(adapted, "decode", _decode(model), dtype)
        yield from _methods(adapted, _prefill(model), dtype)


def _figures(adapted: AdaptedModel, work: str, forward: Callable[[], object], dtype: torch.dtype) -> Iterator[Figure]:
    works: dict[str, Callable[[], object]] = {"base": forward}
    works |= {str(n): _routed(adapted, _rows([f"a{i}" for i in range(n)]), forward) for n in (1, 4, 16)}
    taken = medians(works, ROUNDS)
    for n, goal in GOALS[work, dtype].items():
        yield Figure(f"{work}, {dtype}, {n} adapters", "the base alone", taken[str(n)], taken["base"], goal)


def _methods(adapted: AdaptedModel, forward: Callable[[], object], dtype: torch.dtype) -> Iterator[Figure]:
    adapted.inject_adapter("ada", parse_config(ADALORA), seed=1)
    adapted.inject_adapter("ia3", parse_config(IA3), seed=1)
    mixed = _routed(adapted, _rows(["a0", "a1", "ada", "ia3"]), forward)
    lora = _routed(adapted, _rows(["a0", "a1", "a2", "a3"]), forward)
    taken = medians({"mixed": mixed, "lora": lora}, ROUNDS)
    yield Figure(f"prefill, {dtype}, LoRA + AdaLoRA + IA3", "4 LoRA adapters", taken["mixed"], taken["lora"], 1.05)


def _rows(names: list[str]) -> list[Mixture]:
    return [{name: 1.0} for name in names for _ in range(ROWS // len(names))]


def _routed(adapted: AdaptedModel, rows: list[Mixture], forward: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        with adapted.routed(rows):
            forward()

    return run


def _prefill(model: PreTrainedModel) -> Callable[[], object]:
    ids = torch.randint(0, model.config.vocab_size, (ROWS, TOKENS))
    run: Any = torch.inference_mode()(model)
    return lambda: run(input_ids=ids, use_cache=False, logits_to_keep=1)


def _decode(model: PreTrainedModel) -> Callable[[], object]:
    ids = torch.randint(0, model.config.vocab_size, (ROWS, TOKENS + 1))
    cache = DynamicCache(config=model.config)
    run: Any = torch.inference_mode()(model)
    run(input_ids=ids[:, :TOKENS], past_key_values=cache, use_cache=True)

    def step() -> None:
        run(input_ids=ids[:, TOKENS:], past_key_values=cache, use_cache=True)
        cache.crop(-1)

    return step
