"""smollm2's decode steps with float16 copies of its weights over those in float32: the same numbers, the same sums.

Each time is that of two steps of 1, 4 or 16 rows on a cache of 64 tokens.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from models_registry.arithmetic import Form
from models_registry.injection.arithmetic.choice import FORMS
from models_registry.injection.arithmetic.weight_forms import WeightForms
from tests.bench.figures import Figure, medians

ROWS, TOKENS, STEPS, ROUNDS = (1, 4, 16), 64, 2, 5
GOAL = 0.65


def computing(directory: Path) -> Iterator[Figure]:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    forms = WeightForms(model.eval().requires_grad_(False))
    names: list[Form] = [form for form in FORMS if form not in forms.refused]
    for rows in ROWS:
        works: dict[str, Callable[[], None]] = {form: _steps(model, forms, form, rows) for form in names}
        for work in works.values():
            work()
        taken = medians(works, ROUNDS)
        for form in names:
            if form != "float32":
                name = f"{STEPS} steps, {rows} rows, {form}"
                yield Figure(name, "float32", taken[form], taken["float32"], GOAL)


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
