"""Tensors in JSON: what is read, what is refused and where, and that numbers come back as they went in."""

import json
import math
from typing import Any

import pytest
import torch
from safetensors.torch import load

from models_registry.base_models.json_inputs import decode_inputs
from models_registry.base_models.spec import OutputValue
from models_registry.errors import Invalid
from models_registry.records import Fault
from service.front.api.http.tensors import encode_outputs, encode_safetensors, write_json


def faults(inputs: dict[str, Any]) -> tuple[Fault, ...]:
    with pytest.raises(Invalid) as caught:
        decode_inputs(inputs)
    return caught.value.faults


def written(outputs: dict[str, OutputValue]) -> dict[str, Any]:
    """The outputs as a caller reads them."""
    return json.loads(write_json(encode_outputs(outputs)))


@pytest.mark.parametrize(
    ("nested", "dtype", "shape"),
    [
        ([[1, 2, 3], [4, 5, 6]], torch.int64, (2, 3)),
        ([[0.5], [1.5]], torch.float32, (2, 1)),
        ([1, 2.5], torch.float32, (2,)),
        ([[True], [False]], torch.bool, (2, 1)),
        ([], torch.float32, (0,)),
        ([[], []], torch.float32, (2, 0)),
        (7, torch.int64, ()),
    ],
)
def test_nested_lists_become_the_tensor_that_they_look_like(
    nested: Any, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = decode_inputs({"x": nested}).tensors["x"]
    assert tensor.dtype == dtype
    assert tensor.shape == shape
    assert tensor.tolist() == nested


def test_the_strings_of_non_finite_numbers_are_numbers() -> None:
    tensor = decode_inputs({"x": ["NaN", "Infinity", "-Infinity", 1]}).tensors["x"]
    assert tensor.dtype == torch.float32
    assert math.isnan(tensor[0])
    assert tensor[1:].tolist() == [math.inf, -math.inf, 1.0]


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
)
def test_every_dtype_goes_in_and_comes_out_as_it_was(dtype: str) -> None:
    data = [True, False] if dtype == "bool" else [0, 1]
    tensor = decode_inputs({"x": {"dtype": dtype, "shape": [1, 2], "data": data}}).tensors["x"]
    assert tensor.dtype == getattr(torch, dtype)
    assert written({"x": tensor})["x"] == {"dtype": dtype, "shape": [1, 2], "data": data}


@pytest.mark.parametrize(
    ("value", "loc", "words"),
    [
        ([[1, 2], [3]], ("inputs", "x", 1), "row 1 is ragged: 1 items where row 0 has 2"),
        ([[[1], [2]], [[3], []]], ("inputs", "x", 1), "row 1 is ragged"),
        ([[1], 2], ("inputs", "x", 1), "row 1 is ragged: no list"),
        ([[1, None]], ("inputs", "x", 0, 1), "holds null"),
        ([["a"]], ("inputs", "x", 0, 0), "holds a string"),
        ([2, True], ("inputs", "x", 1), "true or false where a number belongs"),
        ([2**63], ("inputs", "x", 0), "outside int64"),
        ([0.5, 10**400], ("inputs", "x"), "too large for a float"),
        ({"dtype": "int8", "shape": [2], "data": [1, 300]}, ("inputs", "x", "data", 1), "outside int8"),
        ({"dtype": "int8", "shape": [1], "data": [0.5]}, ("inputs", "x", "data", 0), "a whole number belongs"),
        ({"dtype": "bool", "shape": [1], "data": [1]}, ("inputs", "x", "data", 0), "true or false belongs"),
        ({"dtype": "float32", "shape": [1], "data": [[1]]}, ("inputs", "x", "data"), "flat list"),
        ({"dtype": "float32", "shape": [2, 2], "data": [1]}, ("inputs", "x", "data"), "needs 4"),
        ({"dtype": "float32", "shape": [-1], "data": []}, ("inputs", "x", "shape"), "sizes"),
        ({"dtype": "float32", "shape": [True], "data": [1]}, ("inputs", "x", "shape"), "sizes"),
        ({"dtype": "float32", "shape": [0, 2**31 - 1, 2**31 - 1, 9], "data": []}, ("inputs", "x", "shape"), "large"),
        ({"dtype": "complex64", "shape": [1], "data": [1]}, ("inputs", "x", "dtype"), "bfloat16"),
        ({"dtype": [], "shape": [1], "data": [1]}, ("inputs", "x", "dtype"), "bfloat16"),
        ({"dtype": "int8", "shape": [1]}, ("inputs", "x"), "missing or unknown: data"),
        ({"dtype": "int8", "shape": [1], "data": [1], "more": 1}, ("inputs", "x"), "missing or unknown: more"),
        (None, ("inputs", "x"), "holds null"),
    ],
)
def test_what_is_no_tensor_is_refused_by_name_and_place(value: Any, loc: tuple[str | int, ...], words: str) -> None:
    (fault,) = faults({"x": value})
    assert fault.loc == loc
    assert words in fault.message


def test_lists_nested_too_deeply_are_refused() -> None:
    (fault,) = faults({"x": json.loads("[" * 200 + "]" * 200)})
    assert "32 lists deep" in fault.message


def test_every_wrong_input_is_named_at_once() -> None:
    assert {fault.loc[1] for fault in faults({"a": [[1], [2, 3]], "b": [None], "c": [1]})} == {"a", "b"}


def test_texts_are_strings_one_a_row() -> None:
    assert decode_inputs({"text": ["one", "two"]}).texts == ("one", "two")


@pytest.mark.parametrize(
    ("inputs", "loc"),
    [
        ({}, ("inputs",)),
        ({"text": []}, ("inputs", "text")),
        ({"text": "one"}, ("inputs", "text")),
        ({"text": ["one", 2]}, ("inputs", "text", 1)),
        ({"text": ["one"], "x": [1]}, ("inputs", "x")),
    ],
)
def test_texts_that_are_none_and_a_mixture_are_refused(inputs: dict[str, Any], loc: tuple[str | int, ...]) -> None:
    assert [fault.loc for fault in faults(inputs)] == [loc]


def test_non_finite_outputs_are_strings_so_that_the_json_is_json() -> None:
    output = torch.tensor([[1.5, math.nan], [math.inf, -math.inf]], dtype=torch.float16)
    data = [1.5, "NaN", "Infinity", "-Infinity"]
    assert written({"y": output}) == {"y": {"dtype": "float16", "shape": [2, 2], "data": data}}


def test_an_output_that_is_written_in_slices_comes_back_whole() -> None:
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
