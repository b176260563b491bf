import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from models_registry.adapters.method import PEFT_PREFIX
from models_registry.errors import Invalid
from models_registry.safetensors_files import prefix_header, read_header, read_safetensors, write_safetensors

TENSORS = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(3, dtype=torch.bfloat16), "none": torch.zeros(0, 4)}


def test_what_is_written_is_read_back() -> None:
    back = read_safetensors(write_safetensors(TENSORS))
    assert back.keys() == TENSORS.keys()
    for key, tensor in TENSORS.items():
        assert back[key].dtype == tensor.dtype
        assert torch.equal(back[key], tensor)


def test_the_same_tensors_give_the_same_bytes_in_any_order() -> None:
    backwards = dict(reversed(TENSORS.items()))
    assert (
        write_safetensors(TENSORS)
        == write_safetensors(backwards)
        == write_safetensors(read_safetensors(write_safetensors(TENSORS)))
    )


def test_the_file_says_that_it_is_pytorchs_and_carries_the_prefix() -> None:
    data = write_safetensors({"x": torch.zeros(1)}, PEFT_PREFIX)
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert header["__metadata__"] == {"format": "pt"}
    assert header.keys() == {"__metadata__", "base_model.model.x"}


def test_views_and_tensors_that_share_memory_are_written_whole() -> None:
    whole = torch.arange(6.0).view(2, 3)
    tensors = {"turned": whole.T, "row": whole[0], "same": whole[0], "whole": whole}
    back = read_safetensors(write_safetensors(tensors))
    assert all(torch.equal(back[key], tensor) for key, tensor in tensors.items())


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_whose_length_looks_like_a_pickle_is_read(length: int) -> None:
    """A pickle begins with 0x80 and its protocol; so does a file whose header is 640 bytes long."""
    padding = length - (len(save({"x": torch.zeros(2)}, {"format": ""})) - 8 - 8)
    data = save({"x": torch.zeros(2)}, {"format": "p" * padding})
    assert data[:2] == struct.pack("<H", length)
    assert read_safetensors(data).keys() == {"x"}


def header_of(entries: dict[str, Any], data: bytes = b"") -> bytes:
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + data


WHOLE = write_safetensors(TENSORS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"not safetensors at all",
        WHOLE[:-1],
        WHOLE[:20],
        WHOLE + b"\0",
        struct.pack("<Q", 2**62) + WHOLE[8:],
        struct.pack("<Q", 2**63 + 5) + WHOLE[8:],
        struct.pack("<Q", 99_000_000) + b"{}",
        struct.pack("<Q", 4) + b"[][]",
        struct.pack("<Q", 3) + b"\xff\xfe\xfd",
        header_of({"x": {"dtype": "F32", "shape": [1000, 1000], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_of({"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 0]}}),
        header_of({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_of({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"\0" * 4),
        header_of({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8),
        header_of({"x": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_of({"x": {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]}}, b"\0" * 4),
        header_of({"x": {"shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_of(
            {
                "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "y": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            },
            b"\0" * 4,
        ),
    ],
)
def test_what_is_not_safetensors_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid):
        read_safetensors(data)


def read_or_refuse(data: bytes) -> bool:
    """Whether it is a file; never an error of another kind than `Invalid`."""
    try:
        read_safetensors(data)
    except Invalid:
        return False
    return True


@pytest.mark.parametrize(
    ("dtype", "size", "expected"),
    [("F8_E4M3", 8, True), ("U64", 64, True), ("C64", 64, True), ("F8_E8M0", 8, False), ("F6_E2M3", 6, False)],
)
def test_a_dtype_that_torch_lacks_is_invalid(dtype: str, size: int, expected: bool) -> None:
    data = header_of({"x": {"dtype": dtype, "shape": [8], "data_offsets": [0, size]}}, b"\0" * size)
    assert read_or_refuse(data) is expected


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "it is empty"),
    ],
)
def test_what_is_uploaded_in_its_place_is_told_as_what_it_is(contents: bytes, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        read_safetensors(contents)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_never_opened(protocol: int) -> None:
    with pytest.raises(Invalid, match="pickle"):
        read_safetensors(pickle.dumps({"x": [1, 2, 3]}, protocol))


def test_torchs_own_zip_is_never_opened(tmp_path: Any) -> None:
    torch.save({"x": torch.zeros(2)}, tmp_path / "adapter_model.bin")
    with pytest.raises(Invalid, match="pickle"):
        read_safetensors((tmp_path / "adapter_model.bin").read_bytes())


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.integers(0, len(WHOLE)))
def test_any_damage_is_invalid_or_still_a_file(at: int, byte: int, cut: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at] = byte
    for data in (bytes(damaged), bytes(damaged[:cut])):
        assert read_or_refuse(data) in (True, False)
    assert not read_or_refuse(WHOLE[:cut]) or cut == len(WHOLE)


@pytest.mark.parametrize("prefix", [PEFT_PREFIX, 'é\n"\\\x01/', ""])
def test_a_prefixed_header_is_that_of_the_file_with_prefixed_keys(prefix: str) -> None:
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.int8, torch.bool)
    tensors = {f"{n}.ü{dtype}": torch.ones(n, dtype=dtype) for dtype in dtypes for n in (3, 0, 1)}
    data = write_safetensors(tensors)
    header = read_header(io.BytesIO(data))
    assert prefix_header(header, prefix) + data[len(header) :] == write_safetensors(tensors, prefix)


def test_a_file_on_disk_is_read_without_taking_memory_and_outlives_its_name(tmp_path: Path) -> None:
    tensor = torch.arange(1 << 22, dtype=torch.float32)  # 16 MiB
    (tmp_path / "file").write_bytes(save({"x": tensor}))
    read = read_safetensors(tmp_path / "file")["x"]
    assert file_at(read.data_ptr()) == str(tmp_path / "file")
    (tmp_path / "file").unlink()
    assert torch.equal(read, tensor)


def file_at(address: int) -> str | None:
    """Which file this process has mapped there."""
    for mapped in psutil.Process().memory_maps(grouped=False):
        begin, end = (int(edge, 16) for edge in mapped.addr.split("-"))
        if begin <= address < end:
            return mapped.path
    return None
