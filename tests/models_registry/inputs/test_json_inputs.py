"""Inputs in JSON: what is read, what is refused and where."""

import json
import math
from typing import Any

import pytest
import torch

from models_registry.errors import Invalid
from models_registry.inputs.json_inputs import decode_inputs
from models_registry.records import Fault


def faults(inputs: dict[str, Any]) -> tuple[Fault, ...]:
    with pytest.raises(Invalid) as caught:
        decode_inputs(inputs)
    return caught.value.faults


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


def test_prepared_images_stand_beside_texts() -> None:
    read = decode_inputs({"text": ["one"], "pixel_values": [[[[0, 1]]]]})
    assert (read.texts, read.count, read.shows) == (("one",), 1, True)
    assert read.tensors["pixel_values"].tolist() == [[[[0.0, 1.0]]]]
    assert read.tensors["pixel_values"].is_floating_point()


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
def test_texts_that_are_none_and_a_composition_are_refused(inputs: dict[str, Any], loc: tuple[str | int, ...]) -> None:
    assert [fault.loc for fault in faults(inputs)] == [loc]
