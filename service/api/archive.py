"""A PEFT checkpoint as one file: what `PeftModel.from_pretrained` loads after unzipping."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from models_registry.adapters.method import PEFT_PREFIX
from models_registry.safetensors_files import read_safetensors, write_safetensors

# The earliest time that a zip can hold; a real one would make other bytes, and another ETag, of the same checkpoint.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def peft_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """adapter_config.json of a version that is to be used, not trained on."""
    written = {**config, "inference_mode": True}
    if written["peft_type"] == "ADALORA" and not written.get("total_step"):
        # PEFT reads no AdaLoRA without a schedule, though only training follows it: the shortest one that it takes.
        written["total_step"] = written.get("tinit", 0) + written.get("tfinal", 0) + 1
    return written


def peft_weights(state: bytes) -> bytes:
    """adapter_model.safetensors: the same tensors under PEFT's prefixed keys."""
    return write_safetensors(read_safetensors(state), PEFT_PREFIX)


def zip_checkpoint(config: Mapping[str, Any], state: bytes) -> bytes:
    """Both files at the root of a .zip, whose bytes depend on nothing else."""
    files = {
        "adapter_config.json": json.dumps(peft_config(config), indent=2, sort_keys=True).encode(),
        "adapter_model.safetensors": peft_weights(state),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for name, body in files.items():
            opened.writestr(zipfile.ZipInfo(name, _NO_TIME), body)
    return archive.getvalue()
