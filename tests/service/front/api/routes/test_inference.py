"""Inference over HTTP: media types in and out, an adapter for each row, deadlines, and what is refused."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import bases
import pytest
import torch
from apps import RANDOM_LORA, ROWS, SAFETENSORS, Start, create, expect, expect_problem, host, places, safetensors
from gated import gate_named
from safetensors.torch import load
from starlette.testclient import TestClient
from tolerance import assert_same_in_float32
from torch import Tensor

from service.bootstrap import create_app
from service.front.api.http.strict_query import require_known_query
from service.front.api.routes import inference
from service.settings import Settings

INFER = "/models/mlp/infer"
IA3 = {"peft_type": "IA3", "target_modules": ["first"], "feedforward_modules": []}


@pytest.fixture(scope="module")
def adapted(client: TestClient) -> TestClient:
    create(client, "infer-a")
    create(client, "infer-b", {**RANDOM_LORA, "r": 1})
    return client


def infer(client: TestClient, **body: Any) -> dict[str, Any]:
    return expect(client.post(INFER, json={"inputs": {"x": ROWS}, **body}), 200)


def tensor_of(answer: dict[str, Any], output: str = "output") -> Tensor:
    written = answer["outputs"][output]
    return torch.tensor(written["data"], dtype=getattr(torch, written["dtype"])).reshape(written["shape"])


@torch.inference_mode()
def base(rows: list[list[float]]) -> Tensor:
    return bases.mlp()(torch.tensor(rows))


@pytest.mark.parametrize("body", [{}, {"adapter": None}, {"adapter": [None, None]}])
def test_without_an_adapter_the_base_answers(adapted: TestClient, body: dict[str, Any]) -> None:
    answer = infer(adapted, **body)
    assert (answer["model"], answer["adapter"], answer["digest"]) == ("mlp", [None, None], [None, None])
    assert_same_in_float32(tensor_of(answer), base(ROWS))


def test_what_fastapi_would_ask_of_every_route_asks_nothing_of_a_plain_inference() -> None:
    """Such a request passes FastAPI by: whatever else is added for all routes has to be added there, too."""
    everywhere = create_app(Settings()).router.dependencies
    assert [each.dependency for each in everywhere] == [require_known_query]


@pytest.mark.parametrize(
    ("address", "headers"),
    [(INFER, {}), (f"{INFER}?", {}), (INFER, {"X-Request-Timeout": "60"}), ("/models/m%6cp/infer", {})],
)
def test_however_its_parameters_are_found_a_request_is_answered(
    adapted: TestClient, address: str, headers: dict[str, str]
) -> None:
    answer = expect(adapted.post(address, headers=headers, json={"inputs": {"x": ROWS}}), 200)
    assert_same_in_float32(tensor_of(answer), base(ROWS))


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("/models/-mlp/infer", {}, 404),
        ("/models/nobody/infer", {}, 404),
        (f"{INFER}?adaptor=a", {}, 400),
        (INFER, {"X-Request-Timeout": "soon"}, 400),
    ],
)
def test_wrong_parameters_are_refused_however_they_are_found(
    adapted: TestClient, address: str, headers: dict[str, str], status: int
) -> None:
    expect(adapted.post(address, headers=headers, json={"inputs": {"x": ROWS}}), status)


def test_each_row_is_answered_with_its_own_adapter_as_if_it_were_alone(adapted: TestClient) -> None:
    composition = {"infer-a": 0.5, "infer-b@1": -1}
    answer = infer(adapted, inputs={"x": [ROWS[0]] * 4}, adapter=["infer-a", None, composition, "infer-b@1"])
    assert answer["adapter"] == ["infer-a@1", None, {"infer-a@1": 0.5, "infer-b@1": -1.0}, "infer-b@1"]
    alone = [infer(adapted, inputs={"x": [ROWS[0]]}, adapter=a) for a in ("infer-a", None, composition, "infer-b")]
    assert_same_in_float32(tensor_of(answer), torch.cat([tensor_of(one) for one in alone]))
    assert not torch.allclose(tensor_of(alone[0]), tensor_of(alone[1]))


def test_the_answer_names_the_bytes_that_produced_it(adapted: TestClient) -> None:
    digest = adapted.get("/adapters/infer-a").json()["digest"]
    answer = infer(adapted, adapter=["infer-a", {"infer-a": 2}])
    assert answer["digest"] == [digest, {"infer-a@1": digest}]


def test_the_answer_says_where_the_time_went(adapted: TestClient) -> None:
    response = adapted.post(INFER, json={"inputs": {"x": ROWS}})
    assert response.json()["timing"].keys() == {"queue_ms", "forward_ms"}
    spent = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    assert list(spent) == ["queue", "hop", "load", "forward", "total"]
    assert 0 < float(spent["queue"]) + float(spent["load"]) + float(spent["forward"]) <= float(spent["total"]) + 0.01


def test_only_the_wanted_outputs_are_returned(adapted: TestClient) -> None:
    assert infer(adapted, outputs=["output"])["outputs"].keys() == {"output"}
    expect_problem(adapted.post(INFER, json={"inputs": {"x": ROWS}, "outputs": ["other"]}), 422, "invalid")


@pytest.mark.parametrize("adapter", ["infer-a@1", '["infer-a", null]', '{"infer-a": 0.5, "infer-b": 0.5}', ""])
def test_safetensors_have_the_same_numbers_as_json_in_both_directions(adapted: TestClient, adapter: str) -> None:
    choice = json.loads(adapter) if adapter.startswith(("[", "{")) else adapter or None
    as_json = infer(adapted, adapter=choice)
    response = adapted.post(
        INFER,
        params={"adapter": adapter, "outputs": "output"},
        content=safetensors(x=torch.tensor(ROWS)),
        headers={**SAFETENSORS, "accept": "application/vnd.safetensors"},
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/vnd.safetensors"
    assert torch.equal(load(response.content)["output"], tensor_of(as_json))
    header = json.loads(response.content[8 : 8 + int.from_bytes(response.content[:8], "little")])
    rest = json.loads(header["__metadata__"]["answer"])
    assert {**rest, "timing": None} == {**as_json, "outputs": {}, "timing": None}


def test_what_is_accepted_may_stand_on_several_lines(adapted: TestClient) -> None:
    accepted = [("accept", "text/html"), ("accept", "application/vnd.safetensors")]
    response = adapted.post(INFER, json={"inputs": {"x": ROWS}}, headers=accepted)

    assert response.headers["content-type"] == "application/vnd.safetensors"


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html", "nonsense"])
def test_whatever_else_is_accepted_gets_json(adapted: TestClient, accept: str) -> None:
    response = adapted.post(INFER, json={"inputs": {"x": ROWS}}, headers={"accept": accept})
    assert expect(response, 200)["model"] == "mlp"


def test_token_ids_are_whole_numbers_of_json(client: TestClient) -> None:
    answer = expect(client.post("/models/dummy/infer", json={"inputs": {"input_ids": [[0, 1, 2]]}}), 200)
    assert answer["outputs"]["output"]["shape"] == [1, 3, 10]


@pytest.mark.parametrize(
    ("inputs", "wrong"),
    [
        ({"x": [[1, 2], [3]]}, "inputs.x.1"),
        ({"x": [[1, None]]}, "inputs.x.0.1"),
        ({}, "inputs"),
        ({"text": ["a"], "x": ROWS}, "inputs.x"),
        ({"x": ROWS, "y": ROWS}, "inputs.y"),
        ({"y": ROWS}, "inputs.x"),
    ],
)
def test_inputs_that_are_none_are_named(client: TestClient, inputs: dict[str, Any], wrong: str) -> None:
    assert wrong in places(expect_problem(client.post(INFER, json={"inputs": inputs}), 422, "invalid"))


def test_whole_numbers_for_a_model_of_floats_are_refused_with_the_way(client: TestClient) -> None:
    rows = {"inputs": {"x": [[1, 2, 3, 4]]}}
    assert "write 1.0" in expect_problem(client.post("/models/mlp/infer", json=rows), 422, "invalid")["hint"]
    wide = {"inputs": {"x": [[1.0, 2.0]]}}
    assert expect_problem(client.post("/models/mlp/infer", json=wide), 422, "invalid")["hint"] is None


def test_a_token_id_outside_the_embedding_is_refused_and_hurts_nobody(client: TestClient) -> None:
    response = client.post("/models/dummy/infer", json={"inputs": {"input_ids": [[1, 2], [3, 10]]}})
    expect_problem(response, 422, "invalid")
    expect(client.post("/models/dummy/infer", json={"inputs": {"input_ids": [[1, 2], [3, 9]]}}), 200)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": {"x": ROWS}, "more": 1}, "more"),
        ({"inputs": {"x": ROWS}, "outputs": "output"}, "outputs"),
        ({"inputs": {"x": ROWS}, "parameters": []}, "parameters"),
        ({"inputs": {"x": ROWS}, "adapter": 1}, "adapter"),
        ({"inputs": {"x": ROWS}, "adapter": {}}, "adapter"),
        ({"inputs": {"x": ROWS}, "adapter": ""}, "adapter"),
        ({"inputs": {"x": ROWS}, "adapter": {"infer-a": "1"}}, "adapter"),
    ],
)
def test_a_wrong_call_names_its_field(client: TestClient, body: dict[str, Any], wrong: str) -> None:
    found = places(expect_problem(client.post(INFER, json=body), 422, "invalid"))
    assert found
    assert all(place.split(".")[0] == wrong for place in found)


def test_as_many_adapters_as_rows_are_needed(adapted: TestClient) -> None:
    for adapters in ([None], []):
        expect_problem(adapted.post(INFER, json={"adapter": adapters, "inputs": {"x": ROWS}}), 422, "invalid")


def test_every_unknown_adapter_is_named(adapted: TestClient) -> None:
    response = adapted.post(INFER, json={"adapter": ["none", "infer-a@7"], "inputs": {"x": ROWS}})
    detail = expect_problem(response, 404, "not-found")["detail"]
    assert "none" in detail
    assert "infer-a" in detail


def test_an_unknown_model_is_not_found(client: TestClient) -> None:
    expect_problem(client.post("/models/none/infer", json={"inputs": {"x": ROWS}}), 404, "not-found")


@pytest.mark.parametrize("body", [b"", b"{", b"[NaN]", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_malformed(client: TestClient, body: bytes) -> None:
    response = client.post(INFER, content=body, headers={"content-type": "application/json"})
    expect_problem(response, 400, "malformed")


@pytest.mark.parametrize("body", [b"", b"\x80\x04", (2**62).to_bytes(8, "little") + b"{}"])
def test_what_is_no_safetensors_file_is_refused(client: TestClient, body: bytes) -> None:
    expect_problem(client.post(INFER, content=body, headers=SAFETENSORS), 422, "invalid")


def test_other_media_types_are_refused(client: TestClient) -> None:
    response = client.post(INFER, content=b"x", headers={"content-type": "text/plain"})
    expect_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("adapter", ['["infer-a"', '{"infer-a": NaN}'])
def test_an_adapter_in_the_query_that_is_no_json_is_malformed(client: TestClient, adapter: str) -> None:
    response = client.post(
        INFER, params={"adapter": adapter}, content=safetensors(x=torch.tensor(ROWS)), headers=SAFETENSORS
    )
    expect_problem(response, 400, "malformed")


@pytest.mark.parametrize("timeout", ["soon", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none_is_malformed(client: TestClient, timeout: str) -> None:
    response = client.post(INFER, json={"inputs": {"x": ROWS}}, headers={"X-Request-Timeout": timeout})
    expect_problem(response, 400, "malformed")


def test_a_late_request_is_504_and_one_over_a_full_queue_is_429(start: Start) -> None:
    client = start(max_queue=1)
    gate = gate_named("queue")
    host(client, "mlp", "gated:mlp", gate="queue")
    body = {"inputs": {"x": ROWS}}
    expect(client.post(INFER, json=body), 200)
    before = gate.passed
    gate.shut()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(client.post, INFER, json=body)
        gate.wait_for_arrival()
        late = client.post(INFER, json=body, headers={"X-Request-Timeout": "0.01"})
        expect_problem(late, 504, "deadline-passed")
        waiting = [pool.submit(client.post, INFER, json=body) for _ in range(2)]
        refused = next(as_completed(waiting, timeout=30)).result()
        expect_problem(refused, 429, "overloaded")
        assert int(refused.headers["retry-after"]) > 0
        gate.open()
        expect(running.result(), 200)
    assert gate.passed == before + 2


def test_an_adapter_in_the_query_of_a_json_body_is_refused_rather_than_ignored(client: TestClient) -> None:
    answer = client.post("/models/mlp/infer", params={"adapter": "a"}, json={"inputs": {"x": ROWS}})
    expect_problem(answer, 400, "malformed")


@pytest.mark.parametrize(("rows", "beside"), [(2, False), (100_000, True)])
@pytest.mark.parametrize("binary", [False, True])
def test_only_what_is_large_is_read_and_written_beside_the_event_loop(
    start: Start, monkeypatch: pytest.MonkeyPatch, rows: int, beside: bool, binary: bool
) -> None:
    client = start(max_request_rows=100_000)
    host(client, "mlp", "bases:mlp")
    threads: dict[str, int] = {}

    def watched(name: str) -> Callable[..., Any]:
        function = getattr(inference, name)

        def run(*arguments: Any) -> Any:
            threads[name] = threading.get_ident()
            return function(*arguments)

        return run

    work = ("read_safetensors", "safetensors_of") if binary else ("decode_inputs", "json_of")
    for name in (*work, "engine_of"):
        monkeypatch.setattr(inference, name, watched(name))
    x = torch.arange(rows * 4.0).reshape(rows, 4)
    if binary:
        headers = {**SAFETENSORS, "accept": SAFETENSORS["content-type"]}
        answer = client.post("/models/mlp/infer", content=safetensors(x=x), headers=headers)
    else:
        answer = client.post("/models/mlp/infer", json={"inputs": {"x": x.tolist()}})
    assert answer.status_code == 200, answer.text
    loop = threads.pop("engine_of")
    assert {name: thread != loop for name, thread in threads.items()} == dict.fromkeys(work, beside)
