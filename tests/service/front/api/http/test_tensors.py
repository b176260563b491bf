"""Tensors in answers: numbers come back as they went in, as JSON and as safetensors."""

import json
import math
from typing import Any

import pytest
import torch
from safetensors.torch import load

from models_registry.inputs.json_inputs import decode_inputs
from models_registry.inputs.values import OutputValue
from service.front.api.http.tensors import encode_outputs, encode_safetensors, write_json


def written(outputs: dict[str, OutputValue]) -> dict[str, Any]:
    """The outputs as a caller reads them."""
    return json.loads(write_json(encode_outputs(outputs)))


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
)
def test_every_dtype_is_read_and_written_unchanged(dtype: str) -> None:
    data = [True, False] if dtype == "bool" else [0, 1]
    tensor = decode_inputs({"x": {"dtype": dtype, "shape": [1, 2], "data": data}}).tensors["x"]
    assert tensor.dtype == getattr(torch, dtype)
    assert written({"x": tensor})["x"] == {"dtype": dtype, "shape": [1, 2], "data": data}


def test_non_finite_outputs_are_strings_so_that_the_json_is_json() -> None:
    output = torch.tensor([[1.5, math.nan], [math.inf, -math.inf]], dtype=torch.float16)
    data = [1.5, "NaN", "Infinity", "-Infinity"]
    assert written({"y": output}) == {"y": {"dtype": "float16", "shape": [2, 2], "data": data}}


def test_an_output_that_is_written_in_slices_is_read_whole() -> None:
    output = torch.randn(3, 70_001, generator=torch.Generator().manual_seed(0))
    output[1, 5], output[2, 70_000] = math.nan, -math.inf
    answer = written({"y": output})["y"]
    assert (answer["shape"], len(answer["data"])) == ([3, 70_001], 210_003)
    assert torch.equal(decode_inputs({"y": answer}).tensors["y"].nan_to_num(7.0), output.nan_to_num(7.0))
    assert answer["data"][70_001 + 5] == "NaN"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_number_has_the_digits_that_bring_it_back_and_no_more(dtype: torch.dtype) -> None:
    output = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    data = written({"y": output})["y"]["data"]
    assert torch.equal(torch.tensor(data, dtype=dtype), output)
    assert torch.equal(decode_inputs({"y": written({"y": output})["y"]}).tensors["y"], output)
    assert max(len(repr(number)) for number in data) <= (22 if dtype is torch.float64 else 15)


def test_numbers_of_eight_bits_are_written_too() -> None:
    output = torch.tensor([0.5, 448.0]).to(torch.float8_e4m3fn)
    assert written({"y": output})["y"] == {"dtype": "float8_e4m3fn", "shape": [2], "data": [0.5, 448.0]}


def test_an_output_that_is_a_view_is_written_row_major() -> None:
    assert written({"y": torch.tensor([[1, 2], [3, 4]]).T})["y"]["data"] == [1, 3, 2, 4]


def test_output_texts_are_a_list() -> None:
    assert written({"label": ("yes", "no")}) == {"label": ["yes", "no"]}


def test_safetensors_carry_the_tensors_bit_for_bit_and_the_rest_as_metadata() -> None:
    whole = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    file = encode_safetensors({"y": whole, "part": whole[:1], "label": ("yes",)}, '{"model": "m"}')
    tensors = load(file)
    assert tensors.keys() == {"y", "part"}
    assert torch.equal(tensors["y"], whole)
    assert torch.equal(tensors["part"], whole[:1])
    header = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    assert header["__metadata__"] == {"answer": '{"model": "m"}'}
