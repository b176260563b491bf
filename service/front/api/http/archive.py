"""A PEFT checkpoint as one file: what `PeftModel.from_pretrained` loads after unzipping."""

import json
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from models_registry.adapters.method import PEFT_PREFIX
from models_registry.records import AdapterVersion
from models_registry.safetensors_files import prefix_header, read_header
from service.front.api.http.files import File, blocks
from service.front.api.http.spool import temporary_room

# The earliest time that a zip can hold; a real one would make other bytes, and another ETag, of the same checkpoint.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def peft_config(version: AdapterVersion) -> dict[str, Any]:
    """adapter_config.json of a version that is to be used, not trained on. It names the base model by our id: where
    the uploader had it leads nobody else there."""
    ours = {"inference_mode": True, "base_model_name_or_path": version.model}
    written: dict[str, Any] = {**version.config, **ours}
    if written["peft_type"] == "ADALORA" and not written.get("total_step"):
        # PEFT reads no AdaLoRA without a schedule, though only training follows it: the shortest one that it takes.
        written["total_step"] = written.get("tinit", 0) + written.get("tfinal", 0) + 1
    return written


def as_peft(state: BinaryIO) -> File:
    """adapter_model.safetensors: the same tensors under PEFT's prefixed keys, which stand in the header alone."""
    header = read_header(state)
    return File.of(state, prefix_header(header, PEFT_PREFIX), start=len(header))


def zip_checkpoint(config: Mapping[str, Any], state: BinaryIO) -> File:
    """PEFT's two files at the root of a .zip, whose bytes depend on nothing else; written to a file without a name.

    Raises `NoRoom`.
    """
    weights = as_peft(state)
    text = json.dumps(config, indent=2, sort_keys=True).encode()
    with temporary_room("make the .zip"), ExitStack() as opened:
        archive = opened.enter_context(TemporaryFile())
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as writer:
            writer.writestr(zipfile.ZipInfo("adapter_config.json", _NO_TIME), text)
            entry = zipfile.ZipInfo("adapter_model.safetensors", _NO_TIME)
            entry.file_size = weights.size
            with writer.open(entry, "w") as member:
                for block in blocks(range(weights.size)):
                    member.write(weights.read(block))
        archive.flush()
        opened.pop_all()  # it is the caller's now
    return File.of(archive)
