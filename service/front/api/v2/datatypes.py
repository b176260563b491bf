"""The protocol's names of datatypes, and torch's. Without torch, so that a small process can read them."""

from collections.abc import Mapping
from typing import Final

BYTES: Final = "BYTES"
"""Texts in UTF-8; no tensor here."""
TORCH_NAMES: Final[Mapping[str, str]] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "BF16": "bfloat16",
    "FP32": "float32",
    "FP64": "float64",
}
DATATYPES: Final[Mapping[str, str]] = {name: datatype for datatype, name in TORCH_NAMES.items()}
"""By torch's names without `torch.`."""
READ: Final = (*TORCH_NAMES, BYTES)
