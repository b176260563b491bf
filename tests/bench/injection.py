"""Injecting rank-16 LoRA adapters into every linear layer of smollm2, beside PEFT doing the same.

The 1st and the 100th of each; and one from its file (float32, as PEFT saves it) to attached in the base's bf16, beside
PEFT's `load_adapter`, beside merely reading the bytes and beside mapping the file and copying its tensors.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, inject_adapter_in_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.checkpoint import match_checkpoint
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.architecture import describe
from models_registry.injection import AdaptedModel
from models_registry.safetensors_files import read_safetensors, write_safetensors
from tests.bench.figures import Figure, medians, seconds

RANK, COUNT, ROUNDS = 16, 100, 9
RAW_CONFIG = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "target_modules": "all-linear"}


def injecting(directory: Path) -> Iterator[Figure]:
    """The nth adapter of ours and of PEFT's, from a config to injected."""
    empty, full = AdaptedModel(_load(directory)), AdaptedModel(_load(directory))
    config = parse_config(RAW_CONFIG)
    for number in range(COUNT - 1):
        full.inject_adapter(f"a{number}", config, seed=number)

    def inject_into(adapted: AdaptedModel) -> None:
        if "last" in adapted.adapters:
            adapted.eject_adapter("last")
        adapted.inject_adapter("last", config, seed=COUNT)

    taken = medians({"1st": lambda: inject_into(empty), "100th": lambda: inject_into(full)}, ROUNDS)
    theirs = _inject_theirs(_load(directory))
    yield Figure("inject: the 100th adapter", "our 1st", taken["100th"], taken["1st"], 1.2)
    yield Figure("inject: the 1st adapter", "PEFT's 1st", taken["1st"], theirs[0], 1.0)
    yield Figure("inject: the 100th adapter", "PEFT's 100th", taken["100th"], sorted(theirs[-5:])[2], 1 / 50)


def _inject_theirs(model: PreTrainedModel) -> list[float]:
    config = PeftLoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear")
    return [seconds(lambda n=n: inject_adapter_in_model(config, model, f"a{n}")) for n in range(COUNT)]


def loading(directory: Path) -> Iterator[Figure]:
    """One adapter from its file to attached."""
    model = _load(directory)
    architecture = describe(model)
    adapted = AdaptedModel(model, architecture)
    config = parse_config(RAW_CONFIG)
    checkpoint = adapted.inject_adapter("made", config, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "adapter_model.safetensors"
        tensors = {key: tensor.float() for key, tensor in checkpoint.tensors.items()}
        file.write_bytes(write_safetensors(tensors, prefix=PEFT_PREFIX))
        (Path(folder) / "adapter_config.json").write_text(json.dumps(dump_config(checkpoint.config)))
        peft_model = PeftModel.from_pretrained(_load(directory), folder, adapter_name="first")
        names = iter(f"a{n}" for n in range(10 * ROUNDS))

        def ours() -> None:
            matched = match_checkpoint(config, read_safetensors(file.read_bytes()), architecture)
            adapted.attach_adapter(next(names), adapted.prepare_adapter(matched))

        def theirs() -> None:
            peft_model.load_adapter(folder, next(names))

        def mapped() -> None:
            {key: tensor.clone() for key, tensor in load_file(file).items()}

        works = {"ours": ours, "PEFT": theirs, "bytes": file.read_bytes, "mapped": mapped}
        taken = medians(works, ROUNDS)
    yield Figure("load: from a file to attached", "reading its bytes", taken["ours"], taken["bytes"], 3.0)
    yield Figure(
        "load: from a file to attached", "mapping it, copying its tensors", taken["ours"], taken["mapped"], 3.0
    )
    yield Figure("load: from a file to attached", "PEFT load_adapter", taken["ours"], taken["PEFT"], 1 / 10)


def _load(directory: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    return model.eval().requires_grad_(False)
