"""A base model that can't be built: what its caller is told, what is left of it, and who may take its place."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from apps import ROWS, Start, create, expect, expect_problem, host
from gated import gate_named
from starlette.testclient import TestClient

from models_registry.records import BaseModel, Once
from models_registry.registry import Registry
from service.front.requests import ModelStatus
from service.front.services.models import Models

MLP = {"kind": "python", "factory": "bases:mlp"}
BROKEN = {"kind": "python", "factory": "bases:broken"}
REASON = "no weights today"


def register(client: TestClient, source: dict[str, Any], wait: float | None = 60, **others: Any) -> Any:
    headers = {"Idempotency-Key": others.pop("key")} if "key" in others else {}
    query = {} if wait is None else {"wait": wait}
    return client.post("/models", params=query, json={"id": "m", "source": source, **others}, headers=headers)


def settle(client: TestClient) -> Any:
    """The model's listing once it is no longer loading."""
    while (model := expect(client.get("/models/m"), 200))["state"] == "loading":
        pass
    return model


def test_a_model_that_fails_while_its_caller_waits_leaves_nothing(start: Start) -> None:
    client = start()
    problem = expect_problem(register(client, BROKEN), 422, "invalid")
    assert "nothing is registered" in problem["detail"]
    expect_problem(client.get("/models/m"), 404, "not-found")
    assert client.get("/models").json()["items"] == []
    assert client.get("/health/ready").json()["degraded"] == []
    assert expect(register(client, MLP), 201)["state"] == "ready"
    again = start()
    assert [model["source"]["factory"] for model in again.get("/models").json()["items"]] == ["bases:mlp"]


def test_why_a_build_failed_is_said_once(start: Start) -> None:
    client = start()
    assert register(client, BROKEN).text.count(REASON) == 1
    expect(register(client, BROKEN, wait=None), 202)
    assert settle(client)["reason"].count(REASON) == 1
    assert client.post("/models/m/load?wait=60").text.count(REASON) == 1


def test_a_model_that_fails_unwatched_stays_failed_until_another_source_replaces_it(start: Start) -> None:
    client = start()
    expect(register(client, BROKEN, wait=None), 202)
    model = settle(client)
    assert model["state"] == "failed"
    assert REASON in model["reason"]
    assert REASON in expect(client.get("/health/ready"), 200)["degraded"][0]
    expect_problem(client.get("/models/m/modules"), 409, "conflict")
    replaced = expect(register(client, MLP), 201)
    assert (replaced["state"], replaced["reason"], replaced["source"]["factory"]) == ("ready", None, "bases:mlp")
    expect_problem(register(client, MLP), 409, "conflict")


def test_a_model_whose_wait_ended_first_stays_failed(start: Start) -> None:
    gate = gate_named("ends-late")
    client = start()
    gate.shut()
    source = {"kind": "python", "factory": "gated:fails_late", "kwargs": {"gate": gate.name}}
    assert expect(register(client, source, wait=0.01), 202)["state"] == "loading"
    expect_problem(register(client, MLP), 409, "conflict")  # loading is not failed
    gate.open()
    assert settle(client)["state"] == "failed"


def test_a_failed_model_with_adapters_keeps_its_id(start: Start) -> None:
    client = start()
    host(client, "m", "gated:other_weights_each_time")
    create(client, "a", {"peft_type": "LORA", "r": 2, "target_modules": ["linear"]}, "m")
    expect(client.post("/models/m/unload"), 200)
    problem = expect_problem(client.post("/models/m/load?wait=60"), 422, "invalid")
    assert "it stays registered" in problem["detail"]
    assert "other weights" in problem["detail"]
    problem = expect_problem(register(client, MLP), 409, "conflict")
    assert "has adapters: a." in problem["detail"]
    expect(client.delete("/adapters/a"), 204)
    expect(register(client, MLP), 201)


def test_loading_waits_as_registering_does(start: Start) -> None:
    client = start()
    host(client, "m", "bases:mlp")
    expect(client.post("/models/m/unload"), 200)
    assert expect(client.post("/models/m/load?wait=60"), 200)["state"] == "ready"
    expect_problem(client.post("/models/m/load?wait=x"), 400, "malformed")


def test_a_key_is_free_again_once_its_model_failed(start: Start) -> None:
    client = start()
    expect_problem(register(client, BROKEN, key="k"), 422, "invalid")
    expect(register(client, MLP, key="k"), 201)


def test_every_waiting_call_under_one_key_gets_the_reason(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, watch = threading.Semaphore(0), Models.watch

    def watched(models: Models, base: BaseModel) -> Callable[[], ModelStatus]:
        look = watch(models, base)
        waiting.release()
        return look

    monkeypatch.setattr(Models, "watch", watched)
    gate = gate_named("both-wait")
    client = start()
    gate.shut()
    source = {"kind": "python", "factory": "gated:fails_late", "kwargs": {"gate": gate.name}}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(register, client, source, key="k")
        gate.wait_for_arrival()
        assert expect(register(client, source, wait=None, key="k"), 202)["state"] == "loading"
        second = pool.submit(register, client, source, key="k")
        for _ in (first, second):
            assert waiting.acquire(timeout=60)
        gate.open()
        for told in (first, second):
            assert REASON in expect(told.result(), 422)["detail"]
    expect_problem(client.get("/models/m"), 404, "not-found")


def test_a_call_after_the_withdrawal_gets_the_reason(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    has_recalled, is_withdrawn, find_registered = threading.Event(), threading.Event(), Registry.find_registered

    def recalled_too_early(registry: Registry, once: Once) -> BaseModel | None:
        if (base := find_registered(registry, once)) is not None:
            has_recalled.set()
            assert is_withdrawn.wait(60)
        return base

    monkeypatch.setattr(Registry, "find_registered", recalled_too_early)
    gate = gate_named("recalled-early")
    client = start()
    gate.shut()
    source = {"kind": "python", "factory": "gated:fails_late", "kwargs": {"gate": gate.name}}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(register, client, source, key="k")
        gate.wait_for_arrival()
        second = pool.submit(register, client, source, key="k")
        assert has_recalled.wait(60)
        gate.open()
        assert REASON in expect(first.result(), 422)["detail"]
        is_withdrawn.set()
        assert REASON in expect_problem(second.result(), 422, "invalid")["detail"]
    assert gate.passed == 1


def test_what_another_process_withdrew_is_registered_anew(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for, asking, find_registered = list[tuple[Registry, Once]](), threading.Semaphore(0), Registry.find_registered

    def noted(registry: Registry, once: Once) -> BaseModel | None:
        asked_for.append((registry, once))
        asking.release()
        return find_registered(registry, once)

    monkeypatch.setattr(Registry, "find_registered", noted)
    gate = gate_named("withdrawn-elsewhere")
    client = start()
    gate.shut()
    source = {"kind": "python", "factory": "gated:fails_late", "kwargs": {"gate": gate.name}}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(register, client, source, key="k")
        gate.wait_for_arrival()
        (registry, once), *_ = asked_for
        assert registry.withdraw_base_model(registry.find_base_model("m"), once)
        for _ in ("first", "again"):  # this process sees the withdrawal at its next look at the registry
            assert asking.acquire(timeout=60)
        gate.open()
        assert REASON in expect_problem(asked.result(), 422, "invalid")["detail"]
    assert gate.passed == 2


def test_whole_numbers_that_the_model_takes_as_floats_are_tried_so_and_said(start: Start) -> None:
    client = start()
    model = expect(register(client, MLP, example_inputs={"x": [[1, 2, 3, 4]]}), 201)
    (warning,) = model["warnings"]
    assert "x holds whole numbers" in warning
    assert expect(client.get("/models/m"), 200)["warnings"] == [warning]
    modules = expect(client.get("/models/m/modules"), 200)["modules"]
    assert {module["name"]: module["entered"] for module in modules} == {"first": True, "second": True}


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ({"x": [[1.0, 2.0]]}, "doesn't run on them"),
        ({"x": [[1, 2]]}, "doesn't run on them"),
        ({"x": 1.5}, "doesn't run on them"),
        ({"x": [[0.0, 0.0, 0.0, 0.0]]}, "all alike"),
    ],
)
def test_example_inputs_that_show_nothing_are_said(start: Start, example: Any, words: str) -> None:
    client = start()
    (warning,) = expect(register(client, MLP, example_inputs=example), 201)["warnings"]
    assert words in warning
    expect(client.post("/models/m/infer", json={"inputs": {"x": ROWS}}), 200)


def test_example_inputs_that_are_right_are_not_spoken_of(start: Start) -> None:
    client = start()
    assert expect(register(client, MLP, example_inputs={"x": [[1.0, 2.0, 3.0, 4.0]]}), 201)["warnings"] == []


def test_example_inputs_under_a_wrong_name_leave_no_model(start: Start) -> None:
    client = start()
    problem = expect_problem(register(client, MLP, example_inputs={"y": [[1.0, 2.0, 3.0, 4.0]]}), 422, "invalid")
    assert [error["loc"] for error in problem["errors"]] == [["example_inputs", "y"], ["example_inputs", "x"]]
    expect_problem(client.get("/models/m"), 404, "not-found")
