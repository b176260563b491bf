"""What Triton's client asks before it infers: servers, models and versions, ready or not, and what they take."""

import httpx
import pytest
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException


def test_the_server_is_live_and_ready_and_says_what_it_speaks(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    told = triton.get_server_metadata()
    assert (told["name"], told["extensions"]) == ("adapter-service", ["binary_tensor_data"])


def test_ready_are_models_in_memory_and_versions_that_exist(triton: InferenceServerClient, http: httpx.Client) -> None:
    assert triton.is_model_ready("mlp")
    assert triton.is_model_ready("mlp", "tone@prod")
    assert not triton.is_model_ready("mlp", "tone@9")
    assert not triton.is_model_ready("encoder", "tone")
    assert not triton.is_model_ready("never")
    http.post("/models/dummy/unload").raise_for_status()
    assert not triton.is_model_ready("dummy")
    answer = http.get("/v2/models/dummy/ready")
    assert (answer.status_code, answer.json()) == (
        503,
        {"error": "The base model 'dummy' is not ready but unloaded."},
    )
    http.post("/models/dummy/load?wait=60").raise_for_status()
    assert triton.is_model_ready("dummy")


def test_inputs_are_those_of_the_example(triton: InferenceServerClient) -> None:
    told = triton.get_model_metadata("mlp")
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert told["versions"] == ["other", "tone", "tone@prod"]
    assert triton.get_model_metadata("dummy")["inputs"] == [
        {"name": "input_ids", "datatype": "INT32", "shape": [-1, 2]}
    ]


def test_a_language_model_takes_texts_or_tokens(triton: InferenceServerClient) -> None:
    told = triton.get_model_metadata("encoder")
    assert [one["name"] for one in told["inputs"]] == ["text", "input_ids", "attention_mask"]
    assert told["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, -1]}]
    assert [one["name"] for one in triton.get_model_metadata("writer")["outputs"]] == ["text", "logits"]


def test_a_versions_description_names_it_exactly(triton: InferenceServerClient) -> None:
    told = triton.get_model_metadata("mlp", "tone@prod")
    assert told["versions"] == ["tone@prod", "tone@1"]
    with pytest.raises(InferenceServerException, match="no alias 'never'"):
        triton.get_model_metadata("mlp", "tone@never")
