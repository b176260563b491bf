"""Named tensors as the bytes of a safetensors file: what adapters are stored as, and what inference takes and gives."""

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from models_registry.errors import Invalid

PICKLE_SIGNATURES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
PYTORCH: Mapping[str, str] = {"format": "pt"}
"""The metadata of every file that PyTorch's tools write."""


def read_safetensors(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        Invalid: it isn't one: a pickle, truncated, or a header that lies about sizes or offsets.
    """
    try:
        return load(data)
    except SafetensorError as error:
        # Asked only now, for a safetensors file may begin with the same bytes: its header's length.
        if data.startswith(PICKLE_SIGNATURES):
            detail = "This is a pickle, which can run code when it is read; save the weights as safetensors."
            raise Invalid(detail) from error
        raise Invalid(f"This is not a safetensors file: {error}.") from error
    except KeyError as error:  # how the library says that torch has no such numbers, though the format does
        raise Invalid(f"This safetensors file holds numbers of dtype {error}, which can't be read.") from error


def write_safetensors(tensors: Mapping[str, Tensor], prefix: str = "", metadata: Mapping[str, str] = PYTORCH) -> bytes:
    """The same bytes for the same tensors. `prefix` goes in front of each key (`PEFT_PREFIX` for PEFT's own file)."""
    # Copies, for safetensors refuses tensors that share memory, and ours may be views of one.
    apart = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()}
    return save({f"{prefix}{key}": tensor for key, tensor in apart.items()}, dict(metadata))
