"""Whatever is sent, the answer is a clear 4xx, nothing is left behind, and everybody else is answered as before."""

import json
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import torch
from e2e.adapters import CONFIGS, ask, create, rows, same_bits, state, upload
from e2e.process import Service
from safetensors.torch import load, save
from torch import Tensor

MODEL = "minilm"
CONFIG = CONFIGS["lora"]
QUERY_A = "encoder.layer.0.attention.self.query.lora_A.weight"
INFER = f"/models/{MODEL}/infer"


@pytest.fixture(scope="module")
def good(http: httpx.Client) -> bytes:
    """Weights that fit."""
    create(http, MODEL, "unharmed", {**CONFIG, "init_lora_weights": False}, seed=4)
    return state(http, "unharmed")


@pytest.fixture(scope="module")
def before(http: httpx.Client, good: bytes) -> dict[str, Tensor]:
    return ask(http, MODEL, [None, "unharmed"], rows(2))


@pytest.fixture(autouse=True)
def everything_else_is_untouched(http: httpx.Client, before: dict[str, Tensor]) -> Iterator[None]:
    """Around each of the tests."""
    known = _known(http)
    yield
    assert _known(http) == known
    assert same_bits(ask(http, MODEL, [None, "unharmed"], rows(2)), before)
    assert http.get("/health/ready").json() == {"status": "ready", "degraded": []}


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    """A problem of this status whose text names each of `words`."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    text = json.dumps([answer.json()["detail"], answer.json()["errors"]], ensure_ascii=False)
    assert [word for word in words if word not in text] == []


# ---- weights ----------------------------------------------------------------------------------------------------

Spoil = Callable[[bytes], bytes]


def changed(change: Callable[[dict[str, Tensor]], object]) -> Spoil:
    """The good weights with some of the tensors changed in place."""

    def spoil(weights: bytes) -> bytes:
        tensors = load(weights)
        change(tensors)
        return save(tensors)

    return spoil


def _with_nan(tensors: dict[str, Tensor]) -> None:
    tensors[QUERY_A][0, 0] = torch.nan


SPOILT: Final[Mapping[str, tuple[Spoil, tuple[str, ...]]]] = {
    "pickle": (lambda _: pickle.dumps({QUERY_A: [1.0]}), ("pickle",)),
    "torch's pickle": (lambda _: b"PK\x03\x04" + bytes(64), ("pickle",)),
    "truncated": (lambda weights: weights[:-100], ("safetensors",)),
    "cut in its header": (lambda weights: weights[:40], ("safetensors",)),
    "empty": (lambda _: b"", ("safetensors",)),
    "a header that lies about its size": (lambda weights: struct.pack("<Q", 2**62) + weights[8:], ("safetensors",)),
    "a key without a place": (
        changed(lambda t: t.update({"nowhere.lora_A.weight": torch.zeros(1)})),
        ("nowhere.lora_A",),
    ),
    "a missing tensor": (changed(lambda t: t.pop(QUERY_A)), (QUERY_A,)),
    "a wrong shape": (changed(lambda t: t.update({QUERY_A: torch.zeros(5, 384)})), (QUERY_A, "5", "384")),
    "whole numbers": (changed(lambda t: t.update({QUERY_A: torch.zeros(4, 384, dtype=torch.int64)})), (QUERY_A,)),
    "NaN": (changed(_with_nan), (QUERY_A,)),
    "two faults": (
        changed(lambda t: (t.pop(QUERY_A), t.update({"nowhere.lora_A.weight": torch.zeros(1)}))),
        (QUERY_A, "nowhere.lora_A"),
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_weights_that_do_not_fit_are_refused_by_name(http: httpx.Client, good: bytes, kind: str) -> None:
    spoil, words = SPOILT[kind]
    refused(upload(http, MODEL, "spoilt", CONFIG, spoil(good)), 422, *words)


# ---- configs and names ------------------------------------------------------------------------------------------

CONFIG_FAULTS: Final[Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]]] = {
    "matches nothing": ({"target_modules": ["gate_proj"]}, ("gate_proj",)),
    "one entry matches nothing": ({"target_modules": ["query", "gate_proj"]}, ("gate_proj",)),
    "a layer that LoRA can't take": ({"target_modules": ["LayerNorm"]}, ("LayerNorm",)),
    "rank 0": ({"r": 0}, ("r",)),
    "rank in words": ({"r": "8"}, ("r",)),
    "an unknown key": ({"secret_sauce": 3}, ("secret_sauce",)),
    "another method": ({"peft_type": "PREFIX_TUNING"}, ("peft_type", "LORA")),
    "a variant that isn't served": ({"use_qalora": True}, ("use_qalora",)),
    "an initialisation that rewrites the base": ({"init_lora_weights": "pissa"}, ("init_lora_weights", "pissa")),
}


@pytest.mark.parametrize("kind", CONFIG_FAULTS)
def test_a_config_that_cannot_act_is_refused_by_name(http: httpx.Client, kind: str) -> None:
    change, words = CONFIG_FAULTS[kind]
    answer = http.post(f"/models/{MODEL}/adapters", json={"name": "spoilt", "config": {**CONFIG, **change}})
    refused(answer, 422, *words)


def test_a_taken_name_is_refused(http: httpx.Client) -> None:
    refused(http.post(f"/models/{MODEL}/adapters", json={"name": "unharmed", "config": CONFIG}), 409, "unharmed")


@pytest.mark.parametrize("name", ["../up", "a/b", "", "x" * 129, "a@1"])
def test_a_name_that_could_lead_elsewhere_is_refused(http: httpx.Client, name: str) -> None:
    refused(http.post(f"/models/{MODEL}/adapters", json={"name": name, "config": CONFIG}), 422, "name")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models/nobody"),
        ("GET", "/adapters/nobody"),
        ("GET", "/adapters/nobody/state"),
        ("GET", "/adapters/unharmed/state?version=9"),
        ("DELETE", "/adapters/nobody"),
        ("POST", "/models/nobody/load"),
        ("POST", "/models/smollm2/adapters/unharmed/load"),
    ],
)
def test_what_is_not_there_is_404(http: httpx.Client, method: str, path: str) -> None:
    refused(http.request(method, path), 404)


# ---- base models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def roots(service: Service, demo_models: Path) -> Path:
    """A model root with a pickled model in it, and a link that leads out of it."""
    pickled, outside = service.own_root / "pickled", service.directory / "outside"
    pickled.mkdir()
    outside.mkdir()
    for directory in (pickled, outside):
        (directory / "config.json").write_bytes((demo_models / MODEL / "config.json").read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    (outside / "model.safetensors").symlink_to(demo_models / MODEL / "model.safetensors")
    (service.own_root / "link").symlink_to(outside)
    return service.own_root


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc", ("outside",)),
        ("../../../../etc", ("outside",)),
        ("pickled/../../outside", ("outside",)),
        ("link", ("link",)),
        ("nowhere", ("nowhere",)),
        ("pickled", ("pytorch_model.bin",)),
        ("a\0b", ("path",)),
    ],
)
def test_a_model_path_that_may_not_be_read_is_refused(
    http: httpx.Client, roots: Path, path: str, words: tuple[str, ...]
) -> None:
    refused(_register(http, {"kind": "huggingface", "path": path}), 422, *words)


def test_an_absolute_path_out_of_the_roots_is_refused_also_through_a_link(http: httpx.Client, roots: Path) -> None:
    for path in (roots / "link", roots.parent / "outside", roots / ".." / "outside"):
        refused(_register(http, {"kind": "huggingface", "path": str(path)}), 422, "outside")


@pytest.mark.parametrize("factory", ["os:system", "e2e.gate:Gate", "torch.nn:Linear", "bases"])
def test_a_factory_that_is_not_on_the_list_is_refused(http: httpx.Client, factory: str) -> None:
    refused(_register(http, {"kind": "python", "factory": factory, "kwargs": {}}), 422, factory)


def test_a_taken_model_id_is_refused(http: httpx.Client) -> None:
    answer = http.post("/models", json={"id": MODEL, "source": {"kind": "huggingface", "path": MODEL}})
    refused(answer, 409, MODEL)


# ---- inference --------------------------------------------------------------------------------------------------

IDS = [[101, 2003, 102]]
INPUT_FAULTS: Final[Mapping[str, tuple[Mapping[str, Any], int, tuple[str, ...]]]] = {
    "ragged rows": ({"inputs": {"input_ids": [[101, 102], [101]]}}, 422, ("input_ids",)),
    "inputs of different row counts": (
        {"inputs": {"input_ids": IDS * 2, "attention_mask": [[1, 1, 1]]}},
        422,
        ("input_ids", "attention_mask"),
    ),
    "a token id beyond the embedding": (
        {"inputs": {"input_ids": [*IDS, [101, 30522, 102]]}},
        422,
        ("input_ids", "30522"),
    ),
    "a token id below zero": ({"inputs": {"input_ids": [[-1]]}}, 422, ("input_ids", "-1")),
    "an unknown input": ({"inputs": {"input_ids": IDS, "pixels": IDS}}, 422, ("pixels",)),
    "a missing input": ({"inputs": {"attention_mask": IDS}}, 422, ("input_ids",)),
    "no input": ({"inputs": {}}, 422, ("inputs",)),
    "words for numbers": ({"inputs": {"input_ids": [["one"]]}}, 422, ("input_ids",)),
    "a shape that isn't the data's": (
        {"inputs": {"input_ids": {"dtype": "int64", "shape": [2, 2], "data": [1, 2, 3]}}},
        422,
        ("input_ids",),
    ),
    "an unknown dtype": (
        {"inputs": {"input_ids": {"dtype": "int7", "shape": [1], "data": [1]}}},
        422,
        ("input_ids", "int64"),
    ),
    "an empty text": ({"inputs": {"text": ["good", 7]}}, 422, ("text",)),
    "an unknown output": ({"inputs": {"input_ids": IDS}, "outputs": ["moods"]}, 422, ("moods",)),
    "parameters for an encoder": (
        {"inputs": {"text": ["a"]}, "parameters": {"max_new_tokens": 3}},
        422,
        ("parameters",),
    ),
    "an unknown adapter": ({"inputs": {"input_ids": IDS}, "adapter": "nobody"}, 404, ("nobody",)),
    "an unknown version": ({"inputs": {"input_ids": IDS}, "adapter": "unharmed@9"}, 404, ("unharmed",)),
    "one unknown among rows": ({"inputs": {"input_ids": IDS * 2}, "adapter": [None, "nobody"]}, 404, ("nobody",)),
    "fewer adapters than rows": ({"inputs": {"input_ids": IDS * 3}, "adapter": ["unharmed", None]}, 422, ("adapter",)),
    "an unknown field": ({"inputs": {"input_ids": IDS}, "adaptor": "unharmed"}, 422, ("adaptor",)),
}


@pytest.mark.parametrize("kind", INPUT_FAULTS)
def test_inputs_that_do_not_fit_are_refused_by_name(http: httpx.Client, kind: str) -> None:
    body, status, words = INPUT_FAULTS[kind]
    refused(http.post(INFER, json=body), status, *words)


@pytest.mark.parametrize("path", [INFER, f"/models/{MODEL}/adapters", "/models"])
@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b'{"inputs": NaN}', b"[" * 100_000])
def test_what_is_not_json_is_400(http: httpx.Client, path: str, body: bytes) -> None:
    refused(http.post(path, content=body, headers={"Content-Type": "application/json"}), 400)


def test_a_media_type_that_nobody_reads_is_415(http: httpx.Client) -> None:
    refused(http.post(INFER, content=b"a,b", headers={"Content-Type": "text/csv"}), 415, "text/csv")


def test_a_safetensors_body_that_is_none_is_refused(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/vnd.safetensors"}
    refused(http.post(INFER, content=pickle.dumps([1]), headers=headers), 422)


def _register(http: httpx.Client, source: Mapping[str, Any]) -> httpx.Response:
    return http.post("/models", params={"wait": 60}, json={"id": "spoilt", "source": source})


def _known(http: httpx.Client) -> list[Any]:
    """What is listed, but for when adapters were last used."""
    adapters = http.get("/adapters", params={"limit": 200}).json()["items"]
    models = http.get("/models").json()["items"]
    return [
        *((model["id"], model["state"], model["fingerprint"]) for model in models),
        *((adapter["name"], adapter["digest"], len(adapter["versions"])) for adapter in adapters),
    ]
