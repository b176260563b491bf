"""Errors over HTTP, whatever raises them: one form, the contract's status, no insides."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from apps import LORA, ROWS, SAFETENSORS, Start, as_form, expect, expect_problem, host, settings_in
from fastapi import FastAPI
from gated import gate_named
from starlette.testclient import TestClient

from models_registry import errors
from models_registry.records import Fault
from service.bootstrap import create_app
from service.front.api.problems import MALFORMED, Refused, install_problems


def raising(error: Exception) -> TestClient:
    """A client of an app whose only route raises `error`."""
    app = FastAPI()
    install_problems(app)

    @app.get("/")
    def route() -> None:
        raise error

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.NotFound("x"), 404, "not-found"),
        (errors.Conflict("x"), 409, "conflict"),
        (errors.Stale("x"), 412, "stale"),
        (errors.Invalid("x"), 422, "invalid"),
        (errors.Unsupported("x"), 422, "unsupported"),
        (errors.WithoutEffect("x"), 422, "adapter-without-effect"),
        (errors.RowsNotIndependent("x"), 422, "rows-not-independent"),
        (errors.TooLong("x"), 422, "context-length-exceeded"),
        (errors.TooLarge("x"), 413, "too-large"),
        (errors.Overloaded("x"), 429, "overloaded"),
        (errors.DeadlinePassed("x"), 504, "deadline-passed"),
        (errors.Unavailable("x"), 503, "unavailable"),
        (errors.NoRoom("x"), 507, "no-room"),
        (errors.Damaged("abc"), 500, "damaged-blob"),
    ],
)
def test_every_error_of_the_tree_has_its_status(error: errors.RegistryError, status: int, kind: str) -> None:
    response = raising(error).get("/")
    assert expect_problem(response, status, kind)["detail"] == error.detail
    assert ("retry-after" in response.headers) == (status in {429, 503})


@pytest.mark.parametrize(
    "error",
    [errors.Conflict("x", hint="Do y."), errors.Invalid("x", hint="Do y."), Refused(MALFORMED, "x", hint="Do y.")],
)
def test_a_way_out_that_is_known_is_in_the_problem(error: Exception) -> None:
    assert raising(error).get("/").json()["hint"] == "Do y."
    assert raising(errors.NotFound("x")).get("/").json()["hint"] is None


def test_every_fault_is_in_the_problem() -> None:
    faults = [Fault(("inputs", "x", 3), "is bad"), Fault(("name",), "is worse")]
    problem = expect_problem(raising(errors.Invalid("x", faults)).get("/"), 422, "invalid")
    assert problem["errors"] == [
        {"loc": ["inputs", "x", 3], "message": "is bad"},
        {"loc": ["name"], "message": "is worse"},
    ]


def test_of_very_many_faults_the_first_are_listed_and_all_are_counted() -> None:
    faults = [Fault(("adapter", row), "is no name") for row in range(1_001)]
    problem = expect_problem(raising(errors.Invalid("Not so.", faults)).get("/"), 422, "invalid")
    assert [error["loc"] for error in problem["errors"]] == [["adapter", row] for row in range(1_000)]
    assert problem["detail"] == "Not so. There are 1001 errors; these are the first 1000."
    problem = expect_problem(raising(errors.Invalid("Not so.", faults[1:])).get("/"), 422, "invalid")
    assert (len(problem["errors"]), problem["detail"]) == (1_000, "Not so.")


def test_an_answer_stays_small_however_long_what_it_repeats_is() -> None:
    long = "x" * 1_000_000
    response = raising(errors.Invalid(long, [Fault(("config", long, 3), f"{long!r} is no name")])).get("/")
    problem = expect_problem(response, 422, "invalid")
    assert len(response.content) < 15_000
    assert problem["detail"].endswith("(1000000 characters in all)")
    (error,) = problem["errors"]
    assert (error["loc"][0], error["loc"][2]) == ("config", 3)
    assert error["loc"][1].startswith("xxx")
    assert error["message"].startswith("'xxx")


def test_very_many_unknown_references_are_answered_in_short(client: TestClient) -> None:
    ask = {"adapter": [f"none-{row}" for row in range(4_000)], "inputs": {"x": ROWS}}
    response = client.post("/models/mlp/infer", json=ask)
    problem = expect_problem(response, 404, "not-found")
    assert "none-0" in problem["detail"]
    assert len(response.content) < 12_000


def test_an_address_that_leads_nowhere_is_not_found(client: TestClient) -> None:
    expect_problem(client.get("/nowhere"), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/models"), ("POST", "/models/mlp/adapters"), ("POST", "/models/mlp/infer")],
)
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 50_000, b'"\\udfff"'])
def test_a_body_that_is_no_json_is_malformed(client: TestClient, method: str, path: str, body: bytes) -> None:
    response = client.request(method, path, content=body, headers={"content-type": "application/json"})
    expect_problem(response, 400, "malformed")


@pytest.mark.parametrize("path", ["/models/mlp/adapters", "/adapters/a/versions"])
def test_a_body_that_is_no_form_is_malformed(client: TestClient, path: str) -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=line"):
        response = client.post(path, content=b"--line\r\nbroken", headers={"content-type": content_type})
        expect_problem(response, 400, "malformed")


@pytest.mark.parametrize("path", ["/models", "/models/mlp/adapters", "/models/mlp/infer", "/adapters/a/versions"])
def test_a_media_type_that_is_not_read_is_named(client: TestClient, path: str) -> None:
    response = client.post(path, content=b"a=b", headers={"content-type": "application/x-www-form-urlencoded"})
    problem = expect_problem(response, 415, "unsupported-media-type")
    assert "application/x-www-form-urlencoded" in problem["detail"]


def test_what_is_no_text_is_escaped() -> None:
    body = raising(errors.Invalid("a\udcff", [Fault(("b\ud800",), "c\udfff")])).get("/").json()
    assert (body["detail"], body["errors"]) == ("a\\udcff", [{"loc": ["b\\ud800"], "message": "c\\udfff"}])


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/models", "GET, POST"),
        ("/adapters/tone", "DELETE, GET, PATCH"),
        ("/adapters/tone/state", "GET, HEAD, PUT"),
        ("/models/mlp/infer", "POST"),
        ("/docs", "GET"),
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_the_refusal_of_a_method_lists_the_allowed_ones(
    client: TestClient, path: str, allowed: str, method: str
) -> None:
    response = client.request(method, path)
    expect_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An app that takes bodies of up to 2000 bytes, and has an adapter `a`."""
    with TestClient(
        create_app(settings_in(tmp_path_factory.mktemp("small"), max_upload_bytes=2000, max_json_bytes=2000))
    ) as client:
        host(client, "mlp", "bases:mlp")
        expect(client.post("/models/mlp/adapters", json={"name": "a", "config": LORA}), 201)
        yield client


LARGE = b" " * 2001


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/models", {"content": LARGE}),
        ("POST", "/models/mlp/adapters", {"content": LARGE}),
        ("POST", "/models/mlp/adapters", as_form(b"{}", LARGE, name="b")),
        ("POST", "/adapters/a/versions", as_form(b"{}", LARGE)),
        ("PUT", "/adapters/a/state", {"content": LARGE, "headers": SAFETENSORS}),
        ("POST", "/models/mlp/infer", {"content": LARGE}),
        ("POST", "/models/mlp/infer", {"content": LARGE, "headers": SAFETENSORS}),
    ],
)
def test_a_body_over_the_limit_is_refused_wherever_it_is_sent(
    small: TestClient, method: str, path: str, sent: dict[str, Any]
) -> None:
    assert "2000 bytes" in expect_problem(small.request(method, path, **sent), 413, "too-large")["detail"]


def test_a_body_without_a_length_is_counted_while_it_is_read(small: TestClient) -> None:
    response = small.put("/adapters/a/state", content=iter([LARGE[:1500]] * 2), headers=SAFETENSORS)
    assert "content-length" not in response.request.headers
    expect_problem(response, 413, "too-large")


def test_a_store_that_is_full_changes_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")

    def full(*_: object) -> str:
        raise errors.NoRoom("The blob store is full.")

    monkeypatch.setattr("models_registry.storage.directory.DirectoryBlobStore.put", full)
    expect_problem(client.post("/models/mlp/adapters", json={"name": "a", "config": LORA}), 507, "no-room")
    expect_problem(client.get("/adapters/a"), 404, "not-found")


def test_while_the_service_drains_what_runs_is_finished_and_new_requests_are_sent_elsewhere(start: Start) -> None:
    client = start()
    app: Any = client.app
    gate = gate_named("drain")
    host(client, "mlp", "gated:mlp", gate="drain")
    gate.shut()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(client.post, "/models/mlp/infer", json={"inputs": {"x": ROWS}})
        gate.wait_for_arrival()
        app.state.drain.begin()
        refused = client.get("/models")
        expect_problem(refused, 503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert int(refused.headers["x-registry-generation"]) > 0
        assert not app.state.drain.finished
        gate.open()
        expect(running.result(), 200)
    assert app.state.drain.finished
