"""Hosts a tiny model of every type that transformers has, each in a process of its own, and prints how it went.

`PYTHONPATH=. python tests/support/hosting_types.py > tests/models_registry/base_models/model_types.txt` writes the list
that a test compares.
"""

import inspect
import logging
import os
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import transformers
from tiny_configs import tiny_config
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from models_registry.adapters.catalog import parse_config
from models_registry.architecture import describe
from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.base_models.spec import BaseModelSpec
from models_registry.injection import AdaptedModel
from models_registry.inputs.values import Inputs
from models_registry.records import HuggingFaceSource

SECONDS, BYTES, LARGEST = 60, 4 << 30, 20_000_000
TARGETS = 4
LONGEST = 100


def model_class(model_type: str) -> type[PreTrainedModel] | None:
    """The plain model where there is one, else the first of its classes with a head."""
    tables = [modeling_auto.MODEL_MAPPING_NAMES]
    tables += [
        getattr(modeling_auto, n)
        for n in sorted(dir(modeling_auto))
        if n.startswith("MODEL_FOR_") and n.endswith("_NAMES")
    ]
    names = (table[model_type] for table in tables if model_type in table)
    name = next(names, None)
    return name and getattr(transformers, name if isinstance(name, str) else name[0], None)


def host_type(model_type: str, root: Path) -> str:
    """One line: what runs, or why it isn't hosted."""
    cls = model_class(model_type)
    if cls is None:
        return "no model: transformers has only a config, a part of other models"
    try:
        directory = save_tiny(cls, tiny_config(CONFIG_MAPPING[model_type]), root)
    except Exception as error:  # each type has its own way of not being made small
        return f"not made small: {in_short(error)}"
    try:
        spec = open_spec(HuggingFaceSource(str(directory)), None, SourcePolicy((root,), ()))
        module = spec.build(torch.device("cpu"), None)
        adapted = AdaptedModel(module, describe(module, spec.absent_head))
    except Exception as error:
        return f"NOT HOSTED: {in_short(error)}"
    return f"hosted, {run(spec, adapted)}"


def save_tiny(cls: type[PreTrainedModel], config: PreTrainedConfig, root: Path) -> Path:
    with torch.device("meta"):
        numbers = sum(p.numel() for p in cls(config).parameters())
    if numbers > LARGEST:
        raise ValueError(f"it still has more than {LARGEST} numbers")
    torch.manual_seed(0)
    cls(config).save_pretrained(str(root / "model"))
    return root / "model"


def run(spec: BaseModelSpec, adapted: AdaptedModel) -> str:
    """A forward of the base, and one with a LoRA on the first linear layers that it enters."""
    inputs = inputs_for(adapted.module)
    if inputs is None:
        return "no forward: its inputs aren't tokens or an image"
    try:
        with torch.inference_mode():
            rows = spec.read(adapted.module, Inputs(inputs))
            adapted.probe(lambda tensors: spec.forward(adapted.module, type(rows)(tensors, 2)), rows.tensors)
            spec.forward(adapted.module, rows)
            coverage = adapted.profile.coverage
            entered = coverage.entered if coverage else frozenset[str]()
            linear = [m.name for m in adapted.architecture.modules if m.kind == "linear" and m.name in entered]
            if not linear:
                return "base runs, no linear layer is entered"
            config = {"peft_type": "LORA", "r": 2, "target_modules": linear[:TARGETS], "init_lora_weights": False}
            adapted.inject_adapter("tone", parse_config(config), seed=0)
            with adapted.routed_whole({"tone": 1.0}):
                spec.forward(adapted.module, rows)
    except Exception as error:  # what a tiny model's own forward makes of numbers that don't fit each other
        return f"no forward: {in_short(error)}"
    return "base and adapter run"


def inputs_for(module: torch.nn.Module) -> dict[str, Tensor] | None:
    assert isinstance(module, PreTrainedModel)
    ids, names = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]]), inspect.signature(module.forward).parameters
    vision = getattr(module.config, "vision_config", module.config)
    size, channels = getattr(vision, "image_size", None), getattr(vision, "num_channels", None) or 3
    image = {"pixel_values": torch.zeros(2, channels, size, size)} if isinstance(size, int) else {}
    decoder = {"decoder_input_ids": ids[:, :2]} if "decoder_input_ids" in names else {}
    if module.main_input_name == "input_ids":
        # Those that compare texts with images take both; those that write about images take texts alone.
        return {"input_ids": ids, **decoder, **(image if "return_loss" in names else {})}
    return image or None if module.main_input_name == "pixel_values" else None


def in_short(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {' '.join(lines[0].split())[:LONGEST]}"


def in_its_own_process(model_type: str) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
        with tempfile.TemporaryDirectory() as root:
            os.write(writing, host_type(model_type, Path(root)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read().decode()
    os.waitpid(child, 0)
    return answer or "ended: it took too long or too much memory"


def host_all(model_types: Iterable[str]) -> Iterator[str]:
    for model_type in model_types:
        yield f"{model_type}: {in_its_own_process(model_type)}"


def quieten() -> None:
    """transformers warns of every weight that a tiny model has or lacks."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)


if __name__ == "__main__":
    quieten()
    for line in host_all(sys.argv[1:] or sorted(CONFIG_MAPPING)):
        print(line, flush=True)
