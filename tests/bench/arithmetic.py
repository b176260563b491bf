"""smollm2's decode steps with float16 copies of its weights over those in float32: the same numbers, the same sums.

Each time is that of two steps of 1, 4 or 16 rows on a cache of 64 tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from models_registry.arithmetic import Form
from models_registry.injection.arithmetic.weight_forms import WeightForms
from tests.bench.figures import Figure, medians

ROWS, TOKENS, STEPS, ROUNDS = (1, 4, 16), 64, 2, 5
GOAL = 0.65
COMPARED: Sequence[Form] = ("float16_weights", "float32")


def computing(directory: Path) -> Iterator[Figure]:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    forms = WeightForms(model.eval().requires_grad_(False))
    if "float16_weights" in forms.refused:
        return
    for rows in ROWS:
        works = {form: _steps(model, forms, form, rows) for form in COMPARED}
        for work in works.values():
            work()
        ours, peer = medians({str(form): work for form, work in works.items()}, ROUNDS).values()
        yield Figure(f"{STEPS} steps, {rows} rows, float16 copies", "float32", ours, peer, GOAL)


def _steps(model: Any, forms: WeightForms, form: Form, rows: int) -> Callable[[], None]:
    ids = torch.randint(0, model.config.vocab_size, (rows, TOKENS + 1))
    cache = DynamicCache(config=model.config)
    run: Any = torch.inference_mode()(model)
    forms.use(form)
    run(input_ids=ids[:, :TOKENS], past_key_values=cache, use_cache=True)

    def steps() -> None:
        forms.use(form)
        for _ in range(STEPS):
            run(input_ids=ids[:, TOKENS:], past_key_values=cache, use_cache=True)
            cache.crop(-1)

    return steps
