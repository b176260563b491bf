"""What is wrong below `/v2` is `{"error": "…"}`, which says where; whoever found it."""

import json
from typing import Any

import httpx
import pytest
from apps import Start, expect, host
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

TENSOR: dict[str, Any] = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
TEXT: dict[str, Any] = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
PIXELS: dict[str, Any] = {"name": "pixel_values", "shape": [1, 3, 1, 1], "datatype": "FP32", "data": [1, 2, 3]}
BODY = {"inputs": [TENSOR]}
INFER = "/v2/models/mlp/infer"
HEADER = "Inference-Header-Content-Length"


def with_binary(binary: bytes, *tensors: dict[str, Any], header_size: int | None = None) -> dict[str, Any]:
    head = json.dumps({"inputs": list(tensors)}).encode()
    headers = {HEADER: str(len(head) if header_size is None else header_size)}
    return {"content": head + binary, "headers": headers}


def behind(size: int, **others: Any) -> dict[str, Any]:
    return {**{key: value for key, value in {**TENSOR, **others}.items() if key != "data"}} | {
        "parameters": {"binary_data_size": size}
    }


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "words"),
    [
        ("POST", INFER, {"content": b"{"}, 400, "not JSON"),
        ("POST", INFER, {"json": BODY, "headers": {"X-Request-Timeout": "soon"}}, 400, "X-Request-Timeout"),
        ("POST", INFER, {"content": b"a", "headers": {"Content-Type": "text/plain"}}, 415, "text/plain"),
        ("POST", INFER, {"content": b" " * 500_000}, 413, "400000"),
        ("POST", INFER, with_binary(b"", TENSOR, header_size=9999), 400, "fewer than"),
        ("POST", INFER, with_binary(b"", TENSOR, header_size=500_000), 413, "400000"),
        ("POST", INFER, with_binary(b" " * 4_000_000, TENSOR), 413, "4000000"),
        ("GET", INFER, {}, 405, "POST"),
        ("GET", "/v2/nothing", {}, 404, "/v2/nothing"),
        ("GET", "/v2/models/never", {}, 404, "'never'"),
        ("POST", "/v2/models/never/infer", {"json": BODY}, 404, "'never'"),
        ("POST", "/v2/models/mlp/versions/tone@9/infer", {"json": BODY}, 404, "version '9'"),
        ("POST", "/v2/models/encoder/versions/tone/infer", {"json": {"inputs": [TEXT]}}, 404, "'tone'"),
        ("POST", "/v2/models/encoder/infer", {"json": {"inputs": [TEXT, PIXELS]}}, 422, "reads no images"),
    ],
)
def test_every_refusal_is_the_protocols(
    http: httpx.Client, method: str, path: str, sent: dict[str, Any], status: int, words: str
) -> None:
    response = http.request(method, path, **sent)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    assert words in response.json()["error"] + response.headers.get("allow", "")
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"json": {}}, "inputs: "),
        ({"json": {"inputs": [{**TENSOR, "datatype": "UINT32"}]}}, "inputs[0].datatype: must be one of BOOL"),
        ({"json": {"inputs": [{**TENSOR, "datatype": []}]}}, "inputs[0].datatype"),
        ({"json": {"inputs": [{**TENSOR, "shape": [2, 4]}]}}, "inputs[0].data: has 4 numbers, but shape [2, 4]"),
        ({"json": {"inputs": [{**TENSOR, "shape": [-1]}]}}, "inputs[0].shape"),
        ({"json": {"inputs": [{**TENSOR, "data": [1, 2, 3, "four"]}]}}, "inputs[0].data[0][3]"),
        ({"json": {"inputs": [{**TENSOR, "data": [[1, 2], 3, 4]}]}}, "inputs[0].data"),
        ({"json": {"inputs": [{**TENSOR, "data": None}]}}, "inputs[0].data"),
        ({"json": {"inputs": [TENSOR, TENSOR]}}, "inputs[1].name: 'x' is there twice"),
        ({"json": {"inputs": [{**TENSOR, "name": "text"}]}}, "inputs[0].datatype: is FP32"),
        ({"json": {"inputs": [{**TEXT, "name": "x"}]}}, "inputs[0].name"),
        ({"json": {"inputs": [{**TEXT, "shape": [2]}]}}, "as many texts as shape [2]"),
        ({"json": {"inputs": [{**TEXT, "data": [1]}]}}, "must be a string"),
        ({"json": {"inputs": [TEXT, TENSOR]}}, "can't be mixed"),
        ({"json": {**BODY, "outputs": [{"name": "never"}]}}, "never"),
        ({"json": {**BODY, "outputs": [{"name": "output", "parameters": {"classification": 2}}]}}, "classification"),
        ({"json": {**BODY, "parameters": {"adapter": 3}}}, "parameters.adapter"),
        ({"json": {**BODY, "parameters": {"adapter": '["tone", null]'}}}, "adapter"),
        ({"json": {**BODY, "parameters": {"timeout": "soon"}}}, "parameters.timeout"),
        ({"json": {**BODY, "parameters": {"sequence_id": 7}}}, "parameters"),
        (with_binary(b"1234", behind(16)), "leads beyond the end"),
        (with_binary(b"1234" * 5, behind(16)), "take 16 of the 20 bytes"),
        (with_binary(b"1234", behind(4)), "are 4 bytes, but shape [1, 4] of FP32 needs 16"),
        (with_binary(b"1234", {**TENSOR, "parameters": {"binary_data_size": 4}}), "not both"),
        (with_binary(b"\x09\0\0\0a", behind(5, name="text", datatype="BYTES")), "inputs[0].data[0]: ends beyond"),
        (with_binary(b"\x01\0", behind(2, name="text", datatype="BYTES")), "ends beyond"),
        (with_binary(b"\x01\0\0\0\xff", behind(5, name="text", datatype="BYTES")), "is not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(http: httpx.Client, sent: dict[str, Any], words: str) -> None:
    response = http.post(INFER, **sent)
    assert response.status_code == 422, response.text
    assert words in response.json()["error"]


def test_an_adapter_is_named_in_one_place(http: httpx.Client) -> None:
    body = {**BODY, "parameters": {"adapter": "tone"}}
    response = http.post("/v2/models/mlp/versions/other/infer", json=body)
    assert "parameters.adapter: names adapters beside the address" in response.json()["error"]


def test_a_body_that_lies_on_disk_is_refused_the_same(http: httpx.Client) -> None:
    large = with_binary(b"\0" * 2_000_000, behind(1_999_999))
    assert "are 1999999 bytes, but shape [1, 4]" in http.post(INFER, **large).json()["error"]


def test_a_timeout_is_in_microseconds(http: httpx.Client) -> None:
    response = http.post(INFER, json={**BODY, "parameters": {"timeout": 1}})
    assert (response.status_code, response.json().keys()) == (504, {"error"})


def test_tritons_client_raises_our_words(triton: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no base model 'never'"):
        triton.get_model_metadata("never")


def test_what_is_open_elsewhere_is_open_here_and_no_more(start: Start) -> None:
    service = start(admin_key="the-operators-own-key")
    host_key = {"x-api-key": "the-operators-own-key"}
    service.headers.update(host_key)
    host(service, "mlp", "bases:mlp")
    del service.headers["x-api-key"]
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        expect(service.get(path), 200)
    for path in ("/v2/models/mlp", "/v2/models/mlp/ready", "/v2/models/mlp/versions/tone"):
        assert expect(service.get(path), 401).keys() == {"error"}
    assert expect(service.post(INFER, json=BODY), 401).keys() == {"error"}
    assert expect(service.post(INFER, json=BODY, headers=host_key), 200)["model_name"] == "mlp"


def test_usage_counts_its_calls_and_teams_limits_hold(http: httpx.Client) -> None:
    def requests() -> int:
        groups = http.get("/usage?group_by=model").json()["items"]
        return sum(group["requests"] for group in groups if group["model"] == "mlp")

    before = requests()
    http.post(INFER, json=BODY).raise_for_status()
    assert requests() == before + 1
    http.patch("/teams/default", json={"limits": {"requests_per_minute": 0}})
    try:
        refused = http.post(INFER, json=BODY)
        assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
        assert "requests_per_minute" in refused.json()["error"]
    finally:
        http.patch("/teams/default", json={"limits": {}}).raise_for_status()
