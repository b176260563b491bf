"""The head that a directory's files lack, where the task is a classifier's: transformers makes one up at each build."""

import json
from collections.abc import Collection
from pathlib import Path

from transformers import PreTrainedModel

from models_registry.errors import Invalid
from models_registry.records import AbsentHead, Fault


def is_head(module: PreTrainedModel, missing: Collection[str]) -> bool:
    """Whether all that is missing lies outside the model that the head stands on."""
    body = f"{module.base_model_prefix}."
    return module.base_model is not module and not any(name.startswith(body) for name in missing)


def absent_head_of(module: PreTrainedModel, missing: Collection[str], labels: int | None) -> AbsentHead:
    """The made-up weights among `module`'s parameters; `labels` is what somebody said of their number of classes."""
    built = module.config.num_labels or 0
    weights = {name: p for name, p in module.named_parameters() if name in missing}
    sized = tuple(name for name, p in weights.items() if p.ndim and p.shape[0] == built)
    return AbsentHead(tuple(weights), sized, labels, built)


def declared_labels(directory: Path) -> int | None:
    """What config.json itself says; a config that was read from it has two classes where it says nothing."""
    config = json.loads((directory / "config.json").read_text())
    if isinstance(number := config.get("num_labels"), int):
        return number
    names = config.get("id2label")
    return len(names) if isinstance(names, dict) else None


def check_complete(module: PreTrainedModel, missing: set[str]) -> None:
    """Raises `Invalid` where a weight isn't in the files: transformers would make one up, another at each build."""
    if missing and all(name.startswith("pooler.") for name in missing):
        module.register_module(
            "pooler", None
        )  # many encoders are published without one, and give the hidden states all the same
    elif missing:
        message = "This weight is not in the files; use the task that the model was trained for."
        faults = [Fault(("source", "path"), f"{name}: {message}") for name in sorted(missing)]
        raise Invalid(f"The files lack {len(missing)} weights of {type(module).__name__}.", faults)
