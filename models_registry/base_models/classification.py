"""What a text classifier's logits say: the likeliest label of each row."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from models_registry.inputs.values import OutputValue


def classify(config: PreTrainedConfig, logits: Tensor) -> dict[str, OutputValue]:
    """`label` and `score` [rows], as in transformers' pipeline: softmax, or sigmoid where labels may hold together."""
    numbers = logits.float()
    if config.problem_type == "regression":
        scores = numbers
    elif config.problem_type == "multi_label_classification" or numbers.shape[-1] == 1:
        scores = numbers.sigmoid()
    else:
        scores = numbers.softmax(-1)
    best = scores.max(-1)
    names = dict[Any, str](config.id2label or {})
    # An adapter's own head may have more classes than the base's config has names.
    labels = tuple(names.get(int(index), f"LABEL_{int(index)}") for index in best.indices)
    return {"label": labels, "score": best.values}
