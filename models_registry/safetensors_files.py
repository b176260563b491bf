"""Named tensors as the bytes of a safetensors file: what adapters are stored as, and what inference takes and gives."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from models_registry.errors import Invalid

PICKLE_SIGNATURES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
OTHER_FILES: Mapping[tuple[bytes, ...], str] = {
    PICKLE_SIGNATURES: (
        "This is a pickle, which can run code when it is read, whatever its name; save the weights as safetensors "
        "(save_pretrained does)."
    ),
    (b"GGUF",): "This is a GGUF file; upload PEFT's adapter_model.safetensors, from which it was made.",
    (b"version https://git-lfs",): "This is a Git LFS pointer, not the file it stands for; run git lfs pull first.",
    (
        b"<!DOCTYPE",
        b"<!doctype",
        b"<html",
    ): "This is a web page, not the file itself; download that.",
}
"""What is uploaded in the place of a safetensors file, by how it begins."""
PERHAPS_CUT = "If it was one, it may have been cut off while it was copied: compare its size with the original's."
PYTORCH: Mapping[str, str] = {"format": "pt"}
"""The metadata of every file that PyTorch's tools write."""
METADATA = "__metadata__"


def read_safetensors(contents: bytes | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. One on disk is mapped: its tensors take no memory of their own, and stay good
    when the file is closed or removed, but not if somebody writes to it.

    Raises:
        Invalid: it isn't one: a pickle, truncated, or a header that lies about sizes or offsets.
    """
    try:
        return _mapped(contents) if isinstance(contents, Path) else load(contents)
    except SafetensorError as error:
        # Asked only now, for a safetensors file may begin with the same bytes: its header's length.
        beginning = _beginning(contents)
        for signatures, detail in OTHER_FILES.items():
            if beginning.startswith(signatures):
                raise Invalid(detail) from error
        if not beginning:
            raise Invalid("This is not a safetensors file: it is empty.") from error
        raise Invalid(f"This is not a safetensors file: {error}.", hint=PERHAPS_CUT) from error
    except KeyError as error:  # how the library says that torch has no such numbers, though the format does
        raise Invalid(f"This safetensors file holds numbers of dtype {error}, which can't be read.") from error


def write_safetensors(tensors: Mapping[str, Tensor], prefix: str = "", metadata: Mapping[str, str] = PYTORCH) -> bytes:
    """The same bytes for the same tensors. `prefix` goes in front of each key (`PEFT_PREFIX` for PEFT's own file)."""
    users = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    apart = {
        # safetensors refuses tensors that share memory; all others stay where they are, for a copy of all of them would
        # double what a large adapter takes.
        f"{prefix}{key}": tensor.contiguous()
        if users[tensor.untyped_storage().data_ptr()] == 1
        else tensor.clone(memory_format=torch.contiguous_format)
        for key, tensor in tensors.items()
    }
    return save(apart, dict(metadata))


def read_header(file: BinaryIO) -> bytes:
    """What stands before the numbers of a file that was written by us, its own length included. `file` is at its
    beginning."""
    length = file.read(8)
    return length + file.read(int.from_bytes(length, "little"))


def prefix_header(header: bytes, prefix: str) -> bytes:
    """The header of the same numbers with `prefix` in front of each key, as `write_safetensors` would write it: what
    all keys begin with doesn't change their order."""
    entries = {key if key == METADATA else f"{prefix}{key}": entry for key, entry in json.loads(header[8:]).items()}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _mapped(file: Path) -> dict[str, Tensor]:
    with safe_open(file, framework="pt") as opened:
        return opened.get_tensors()


def _beginning(contents: bytes | Path) -> bytes:
    if not isinstance(contents, Path):
        return contents
    with contents.open("rb") as opened:
        return opened.read(max(len(one) for signatures in OTHER_FILES for one in signatures))
