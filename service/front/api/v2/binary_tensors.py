"""Tensors behind the JSON of a body, as their bytes: the protocol's binary extension.

Numbers are little-endian and row-major; of texts each has its length before it, in four bytes.
"""

import math
from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

from models_registry.dtypes import dtype_named
from models_registry.errors import Invalid
from models_registry.inputs.values import OutputValue
from models_registry.records import Fault, Location
from service.front.api.v2.datatypes import TORCH_NAMES

_LENGTH = Struct("<I")


def opened(contents: bytes | Path) -> memoryview:
    """A body that has arrived. One on disk is mapped, until its last view is gone."""
    if isinstance(contents, bytes):
        return memoryview(contents)
    with contents.open("rb") as file:
        return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))


def read_tensor(content: memoryview, datatype: str, shape: Sequence[int], at: Location) -> Tensor:
    """A copy of the numbers. Raises `Invalid` where there are more or fewer bytes than `shape` has."""
    dtype = dtype_named(TORCH_NAMES[datatype])
    needed = math.prod(shape) * dtype.itemsize
    if len(content) != needed:
        message = f"are {len(content)} bytes, but shape {list(shape)} of {datatype} needs {needed}"
        raise Invalid("The binary data doesn't fit its shape.", [Fault((*at, "binary_data_size"), message)])
    if not needed:
        return torch.empty(tuple(shape), dtype=dtype)
    numbers = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    if dtype is torch.bool:
        return (numbers != 0).reshape(tuple(shape))
    return numbers.view(dtype).reshape(tuple(shape))


def read_texts(content: memoryview, at: Location) -> list[str]:
    """Raises `Invalid` where a length leads beyond the end, or a text is no UTF-8."""
    texts: list[str] = []
    start = 0
    while start < len(content):
        behind = start + _LENGTH.size
        end = behind + (_LENGTH.unpack(content[start:behind])[0] if behind <= len(content) else 0)
        if not behind <= end <= len(content):
            raise _unreadable(at, len(texts), "ends beyond the binary data: its length stands before it in 4 bytes")
        try:
            texts.append(str(content[behind:end], "utf-8"))
        except UnicodeDecodeError as error:
            raise _unreadable(at, len(texts), f"is not UTF-8: {error.reason} at byte {error.start}") from error
        start = end
    return texts


def write_binary(value: OutputValue) -> bytes:
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return b"".join(_lengths_and(value))


def _lengths_and(texts: Sequence[str]) -> Iterator[bytes]:
    for text in texts:
        content = text.encode()
        yield _LENGTH.pack(len(content))
        yield content


def _unreadable(at: Location, row: int, message: str) -> Invalid:
    return Invalid("The binary data holds no texts.", [Fault((*at, "data", row), message)])
