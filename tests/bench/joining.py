"""Running texts on smollm2 over the bare model's own steps: 16 rows of 1, 4 or 16 distinct rank-16 LoRA adapters.

Steady, and with joins: every 4 steps the texts of one adapter leave, and as many join with one that was not there.
Each time is that of 4 steps on a cache of 64 tokens, what a join copies included.
"""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel
from tests.bench.figures import Figure, medians

ROWS, TOKENS, STEPS, ADAPTERS, ROUNDS = 16, 64, 4, 32, 15
GOALS = {1: 1.05, 4: 1.10, 16: 1.30}
LORA = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": "all-linear", "init_lora_weights": False}


def joining(directory: Path) -> Iterator[Figure]:
    bare, adapted = _load(directory), AdaptedModel(_load(directory))
    for number in range(ADAPTERS):
        adapted.inject_adapter(str(number), parse_config(LORA), seed=number)
    steps = _steps(adapted.module)
    works = {"base": _steps(bare)}
    for distinct in GOALS:
        works[f"{distinct} adapters"] = _steady(adapted, distinct, steps)
        works[f"{distinct} adapters, joins"] = _joins(adapted, distinct, steps)
    for work in works.values():
        work()
    taken = medians(works, ROUNDS)
    for distinct, goal in GOALS.items():
        for work in (f"{distinct} adapters", f"{distinct} adapters, joins"):
            yield Figure(f"{STEPS} steps, torch.float32, {work}", "the base alone", taken[work], taken["base"], goal)


def _steady(adapted: AdaptedModel, distinct: int, steps: Callable[[], None]) -> Callable[[], None]:
    sequences = adapted.sequence_routing(ROWS)
    for row in range(ROWS):
        sequences.place(row, {str(row % distinct): 1.0})

    def run() -> None:
        with sequences.active(ROWS):
            steps()

    return run


def _joins(adapted: AdaptedModel, distinct: int, steps: Callable[[], None]) -> Callable[[], None]:
    sequences = adapted.sequence_routing(ROWS)
    for row in range(ROWS):
        sequences.place(row, {str(row % distinct): 1.0})
    turns = count()

    def run() -> None:
        turn = next(turns)
        for row in range(turn % distinct, ROWS, distinct):
            sequences.place(row, {str((distinct + turn) % ADAPTERS): 1.0})
        with sequences.active(ROWS):
            steps()

    return run


def _load(directory: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def _steps(model: Any) -> Callable[[], None]:
    ids = torch.randint(0, model.config.vocab_size, (ROWS, TOKENS + 1))
    cache = DynamicCache(config=model.config)
    run: Any = torch.inference_mode()(model)
    run(input_ids=ids[:, :TOKENS], past_key_values=cache, use_cache=True)

    def steps() -> None:
        for _ in range(STEPS):
            run(input_ids=ids[:, TOKENS:], past_key_values=cache, use_cache=True)
            cache.crop(-1)

    return steps
