"""Inference by the unmodified `tritonclient`: the same numbers as by the service's own API, in JSON and in bytes."""

import json
from typing import Any

import httpx
import ml_dtypes
import numpy as np
import pytest
from apps import ROWS
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

X = np.array(ROWS, np.float32)


def given(name: str, value: NDArray[Any], datatype: str, *, binary: bool = True) -> InferInput:
    tensor = InferInput(name, list(value.shape), datatype)
    tensor.set_data_from_numpy(value, binary_data=binary)
    return tensor


def texts(*rows: str, binary: bool = True) -> InferInput:
    return given("text", np.array(rows, np.object_), "BYTES", binary=binary)


def ours(http: httpx.Client, model: str, inputs: dict[str, Any], adapter: Any = None, **others: Any) -> dict[str, Any]:
    answer = http.post(f"/models/{model}/infer", json={"inputs": inputs, "adapter": adapter, **others})
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"]


def numbers(output: dict[str, Any]) -> NDArray[np.float32]:
    return np.array(output["data"], np.float32).reshape(output["shape"])


def output_of(result: InferResult, name: str = "output") -> NDArray[Any]:
    value = result.as_numpy(name)
    assert value is not None
    return value


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("answered", [None, False, True])
def test_numbers_are_the_services_own(
    triton: InferenceServerClient, http: httpx.Client, binary: bool, answered: bool | None
) -> None:
    outputs = None if answered is None else [InferRequestedOutput("output", binary_data=answered)]
    result = triton.infer("mlp", [given("x", X, "FP32", binary=binary)], outputs=outputs, request_id="42")
    assert np.array_equal(output_of(result), numbers(ours(http, "mlp", {"x": ROWS})["output"]))
    told = result.get_response()
    assert (told["model_name"], told["id"], told["parameters"]) == ("mlp", "42", {})
    assert ("parameters" in told["outputs"][0]) == (answered is not False)


@pytest.mark.parametrize(("version", "exact"), [("tone@prod", "tone@1"), ("tone", "tone@2"), ("tone@1", "tone@1")])
def test_a_version_is_an_adapters_reference(
    triton: InferenceServerClient, http: httpx.Client, version: str, exact: str
) -> None:
    result = triton.infer("mlp", [given("x", X, "FP32")], model_version=version)
    assert np.array_equal(output_of(result), numbers(ours(http, "mlp", {"x": ROWS}, version)["output"]))
    told = result.get_response()
    assert told["model_version"] == told["parameters"]["adapter"] == exact
    assert told["parameters"]["digest"].startswith("sha256:")


@pytest.mark.parametrize("adapter", ["tone@prod", {"tone": 0.5, "other": 0.25}, ["tone", None]])
def test_a_parameter_names_adapters_as_they_are_or_as_json(
    triton: InferenceServerClient, http: httpx.Client, adapter: Any
) -> None:
    expected = numbers(ours(http, "mlp", {"x": ROWS}, adapter)["output"])
    for written in (adapter, adapter if isinstance(adapter, str) else json.dumps(adapter)):
        result = triton.infer("mlp", [given("x", X, "FP32")], parameters={"adapter": written})
        assert np.array_equal(output_of(result), expected)
    if isinstance(adapter, list):
        told = result.get_response()
        assert json.loads(told["parameters"]["adapter"]) == ["tone@2", None]
        assert "model_version" not in told


@pytest.mark.parametrize(("dtype", "datatype"), [(np.int64, "INT64"), (np.int32, "INT32")])
@pytest.mark.parametrize("binary", [False, True])
def test_whole_numbers_keep_their_width(
    triton: InferenceServerClient, http: httpx.Client, dtype: Any, datatype: str, binary: bool
) -> None:
    result = triton.infer("dummy", [given("input_ids", np.array([[1, 2]], dtype), datatype, binary=binary)])
    assert np.array_equal(output_of(result), numbers(ours(http, "dummy", {"input_ids": [[1, 2]]})["output"]))


@pytest.mark.parametrize("binary", [False, True])
def test_texts_are_the_input_text(triton: InferenceServerClient, http: httpx.Client, binary: bool) -> None:
    expected = numbers(ours(http, "encoder", {"text": ["a b", "c"]})["embedding"])
    assert np.array_equal(output_of(triton.infer("encoder", [texts("a b", "c", binary=binary)]), "embedding"), expected)
    column = given("text", np.array([["a b"], ["c"]], np.object_), "BYTES", binary=binary)
    assert np.array_equal(output_of(triton.infer("encoder", [column]), "embedding"), expected)


def test_parameters_of_writing_have_a_model_write(triton: InferenceServerClient, http: httpx.Client) -> None:
    expected = ours(http, "writer", {"text": ["a b", "c"]}, parameters={"max_new_tokens": 4})["text"]
    for outputs in (None, [InferRequestedOutput("text", binary_data=False)]):
        result = triton.infer("writer", [texts("a b", "c")], outputs=outputs, parameters={"max_new_tokens": 4})
        written = [text.decode() if isinstance(text, bytes) else text for text in output_of(result, "text")]
        assert written == expected


@pytest.mark.parametrize(("datatype", "kind"), [("FP16", np.float16), ("BF16", ml_dtypes.bfloat16)])
def test_half_precision_is_read_and_written_unchanged(
    triton: InferenceServerClient, http: httpx.Client, datatype: str, kind: Any
) -> None:
    dtype = {"FP16": "float16", "BF16": "bfloat16"}[datatype]
    body = {"id": dtype, "source": {"kind": "python", "factory": "bases:mlp"}, "dtype": dtype}
    http.post("/models?wait=60", json=body).raise_for_status()
    result = triton.infer(dtype, [given("x", X.astype(kind), datatype)])
    inputs = {"x": {"dtype": dtype, "shape": [2, 4], "data": [number for row in ROWS for number in row]}}
    assert np.array_equal(output_of(result), numbers(ours(http, dtype, inputs)["output"]))
    assert result.get_response()["outputs"][0]["datatype"] == datatype


def test_large_bodies_are_read_from_disk_or_by_a_process(triton: InferenceServerClient) -> None:
    rows = (np.arange(16_000, dtype=np.float32).reshape(-1, 4) % 7) + 0.123456789
    expected = output_of(triton.infer("mlp", [given("x", rows, "FP32")]))
    as_json = output_of(triton.infer("mlp", [given("x", rows, "FP32", binary=False)]))
    assert np.array_equal(as_json, expected)
    with pytest.raises(Exception, match="4096"):
        triton.infer("mlp", [given("x", np.zeros((70_000, 4), np.float32), "FP32")])


def test_non_finite_numbers_have_names_in_json(http: httpx.Client) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [["Infinity", 0, 0, 0]]}
    answer = http.post("/v2/models/mlp/infer", json={"inputs": [tensor]}).json()
    expected = ours(http, "mlp", {"x": [["Infinity", 0.0, 0.0, 0.0]]})["output"]
    assert answer["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [1, 3], "data": expected["data"]}]
    assert {"Infinity", "-Infinity", "NaN"} & set(expected["data"])
