"""Adapters over HTTP: fresh ones and uploads, versions, lists, in and out of memory, and what is refused."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from apps import LORA, RANDOM_LORA, ROWS, Start, as_form, create, expect, expect_problem, host, places, safetensors
from gated import gate_named
from starlette.testclient import TestClient

from models_registry.storage.directory import DirectoryBlobStore

PATH = "/models/mlp/adapters"


def test_a_fresh_adapter_is_version_1_and_at_once_in_memory(client: TestClient) -> None:
    response = client.post(PATH, json={"name": "fresh", "config": LORA, "metadata": {"owner": ["a", 1, None]}})
    created = expect(response, 201)
    assert response.headers["location"] == "/adapters/fresh"
    assert created.pop("digest").startswith("sha256:")
    assert created.pop("bytes") > 0
    assert created == {
        "name": "fresh",
        "model": "mlp",
        "version": 1,
        "reference": "fresh@1",
        "method": "LORA",
        "parameters": 2 * (4 + 8) + 2 * (8 + 3),
        "target_count": 2,
        "target_modules": ["first", "second"],
        "targets": ["first", "second"],
        "warnings": [],
        "unchanged": False,
    }
    adapter = expect(client.get("/adapters/fresh"), 200)
    assert adapter["residency"] == "resident"
    assert adapter["in_flight"] == 0
    assert adapter["aliases"] == {}
    assert adapter["versions"][0]["metadata"] == {"owner": ["a", 1, None]}


def test_the_same_seed_makes_the_same_adapter(client: TestClient) -> None:
    assert create(client, "seeded-1")["digest"] == create(client, "seeded-2")["digest"]


def test_a_taken_name_is_a_conflict_on_every_model(client: TestClient) -> None:
    create(client, "taken")
    config = {**LORA, "target_modules": ["linear"]}
    here = expect_problem(client.post(PATH, json={"name": "taken", "config": LORA}), 409, "conflict")
    assert "POST /adapters/taken/versions" in here["hint"]
    there = client.post("/models/dummy/adapters", json={"name": "taken", "config": config})
    elsewhere = expect_problem(there, 409, "conflict")
    assert "on the base model 'mlp'" in elsewhere["detail"]
    assert "POST /adapters/taken/versions" in elsewhere["hint"]


def test_an_adapter_on_an_unknown_model_is_not_found(client: TestClient) -> None:
    expect_problem(client.post("/models/none/adapters", json={"name": "a", "config": LORA}), 404, "not-found")


def test_a_version_brings_its_own_config(client: TestClient) -> None:
    create(client, "versioned")
    config = json.dumps({**RANDOM_LORA, "r": 1, "target_modules": ["first"]}).encode()
    weights = safetensors(**{"first.lora_A.weight": torch.ones(1, 4), "first.lora_B.weight": torch.ones(8, 1)})
    form = as_form(config, weights, metadata='{"why": "smaller"}')
    response = client.post("/adapters/versioned/versions", **form)
    created = expect(response, 201)
    assert (created["version"], created["targets"]) == (2, ["first"])
    assert response.headers["location"] == "/adapters/versioned/state?version=2"
    versions = expect(client.get("/adapters/versioned/versions"), 200)["versions"]
    assert [version["version"] for version in versions] == [1, 2]
    assert versions[1]["metadata"] == {"why": "smaller"}
    newest = client.get("/adapters/versioned").json()
    assert (newest["version"], newest["target_modules"]) == (2, ["first"])


def test_lists_count_the_targets_and_a_version_alone_names_them_all(client: TestClient) -> None:
    config = {**RANDOM_LORA, "target_modules": "first|second"}
    create(client, "patterned", config)
    adapter = expect(client.get("/adapters/patterned"), 200)
    listed = expect(client.get("/adapters/patterned/versions"), 200)["versions"][0]
    for shown in (adapter, adapter["versions"][0], listed):
        assert (shown["target_count"], shown["target_modules"]) == (2, "first|second")
        assert "targets" not in shown
    expect(client.put("/adapters/patterned/aliases/prod", json={"version": 1}), 200)
    whole = expect(client.get("/adapters/patterned/versions/1"), 200)
    assert (whole.pop("name"), whole.pop("model"), whole.pop("aliases")) == ("patterned", "mlp", ["prod"])
    assert whole.pop("targets") == ["first", "second"]
    assert whole == listed


def test_a_version_that_is_not_there_is_not_found(client: TestClient) -> None:
    create(client, "alone")
    for path in ("alone/versions/2", "alone/versions/01", "alone/versions/x", "none/versions/1"):
        expect_problem(client.get(f"/adapters/{path}"), 404, "not-found")


def test_an_adapter_on_many_modules_stays_a_short_entry(start: Start) -> None:
    client = start()
    host(client, "deep", "bases:stacked", layers=100)
    config = {**RANDOM_LORA, "target_modules": [str(number) for number in range(100)]}
    assert len(create(client, "wide", config, "deep")["targets"]) == 100
    response = client.get("/adapters/wide")
    assert response.json()["target_modules"] is None
    assert response.json()["target_count"] == 100
    assert len(response.content) < 2_000


def test_a_version_has_no_name_of_its_own_and_an_adapter_to_belong_to(client: TestClient) -> None:
    create(client, "named")
    form = as_form(b"{}", b"", name="other")
    assert places(expect_problem(client.post("/adapters/named/versions", **form), 422, "invalid")) == ["name"]
    expect_problem(client.post("/adapters/none/versions", **as_form(b"{}", b"")), 404, "not-found")
    expect_problem(client.post("/adapters/named/versions", json={}), 415, "unsupported-media-type")


def test_adapters_are_paged_by_name_in_all_and_per_model(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    host(client, "other", "bases:mlp")
    for name in "dbca":
        create(client, name, model="other" if name == "b" else "mlp")
    first = expect(client.get("/adapters", params={"limit": 3}), 200)
    assert [adapter["name"] for adapter in first["items"]] == ["a", "b", "c"]
    rest = expect(client.get("/adapters", params={"cursor": first["next_cursor"]}), 200)
    assert ([adapter["name"] for adapter in rest["items"]], rest["next_cursor"]) == (["d"], None)
    of_model = expect(client.get("/models/mlp/adapters"), 200)
    assert [adapter["name"] for adapter in of_model["items"]] == ["a", "c", "d"]


def test_an_adapter_is_unloaded_and_loaded_again(client: TestClient) -> None:
    create(client, "moving")
    assert expect(client.post(f"{PATH}/moving/unload"), 200)["residency"] != "resident"
    assert expect(client.post(f"{PATH}/moving/load"), 200)["residency"] == "resident"


def test_a_pinned_adapter_says_so_and_one_too_many_is_refused(start: Start) -> None:
    client = start(max_resident_bytes=200)
    host(client, "mlp", "bases:mlp")
    for name in "ab":
        create(client, name)
    loaded = expect(client.post(f"{PATH}/a/load", params={"pin": True}), 200)["versions"][0]
    assert (loaded["residency"], loaded["pinned"], loaded["memory_bytes"]) == ("resident", True, 184)
    assert loaded["last_used_at"] is None
    problem = expect_problem(client.post(f"{PATH}/b/load", params={"pin": True}), 507, "no-room")
    assert "b@1 takes 184 bytes" in problem["detail"]
    listed = expect(client.get(PATH), 200)["items"]
    assert [adapter["versions"][0]["pinned"] for adapter in listed] == [True, False]
    body = {"adapter": "b", "inputs": {"x": ROWS}}
    expect_problem(client.post("/models/mlp/infer", json=body), 507, "no-room")
    assert not expect(client.post(f"{PATH}/a/unload"), 200)["versions"][0]["pinned"]
    expect(client.post("/models/mlp/infer", json=body), 200)


def test_many_callers_who_wait_for_a_load_keep_threads_free_for_others(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gate_named("loading")
    read = DirectoryBlobStore.get
    monkeypatch.setattr(DirectoryBlobStore, "get", lambda self, digest: (gate.pass_through(), read(self, digest))[1])
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "a")
    expect(client.post(f"{PATH}/a/unload"), 200)
    gate.shut()
    with ThreadPoolExecutor(60) as pool:
        loads = [pool.submit(client.post, f"{PATH}/a/load") for _ in range(60)]
        gate.wait_for_arrival()
        assert expect(client.get("/adapters/a"), 200)["residency"] == "stored"
        gate.open()
        assert {expect(load.result(), 200)["residency"] for load in loads} == {"resident"}


def test_an_adapter_in_use_stays_until_its_requests_are_done(start: Start) -> None:
    client = start()
    gate = gate_named("in use")
    host(client, "mlp", "gated:mlp", gate="in use")
    create(client, "a")
    gate.shut()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(client.post, "/models/mlp/infer", json={"adapter": "a", "inputs": {"x": ROWS}})
        gate.wait_for_arrival()
        assert client.get("/adapters/a").json()["in_flight"] == 1
        expect_problem(client.delete("/adapters/a"), 409, "conflict")
        assert expect(client.post(f"{PATH}/a/unload"), 202)["residency"] == "resident"
        gate.open()
        expect(running.result(), 200)
    assert expect(client.post(f"{PATH}/a/unload"), 200)["residency"] != "resident"


def test_a_removed_adapter_is_404(client: TestClient) -> None:
    create(client, "removed")
    response = client.delete("/adapters/removed")
    assert (response.status_code, response.content) == (204, b"")
    expect_problem(client.get("/adapters/removed"), 404, "not-found")
    body = {"adapter": "removed", "inputs": {"x": ROWS}}
    expect_problem(client.post("/models/mlp/infer", json=body), 404, "not-found")


def test_an_adapter_of_another_model_is_not_found(client: TestClient) -> None:
    create(client, "of-mlp")
    expect_problem(client.post("/models/dummy/adapters/of-mlp/load"), 404, "not-found")
    expect_problem(client.post("/models/dummy/adapters/of-mlp/unload"), 404, "not-found")
    body = {"adapter": "of-mlp", "inputs": {"input_ids": [[1]]}}
    expect_problem(client.post("/models/dummy/infer", json=body), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/adapters/none"),
        ("GET", "/adapters/none/versions"),
        ("DELETE", "/adapters/none"),
        ("POST", f"{PATH}/none/load"),
        ("POST", f"{PATH}/none/unload"),
        ("GET", "/adapters/a@1"),
    ],
)
def test_an_unknown_adapter_is_not_found(client: TestClient, method: str, path: str) -> None:
    expect_problem(client.request(method, path), 404, "not-found")


def test_everything_answers_the_same_after_a_restart(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "a")
    call = {"adapter": ["a", None], "inputs": {"x": ROWS}}
    before = expect(client.post("/models/mlp/infer", json=call), 200)
    client.__exit__(None, None, None)
    again = start()
    host(again, "second", "bases:mlp")  # models load one after the other: once this one is ready, the first is, too
    after = expect(again.post("/models/mlp/infer", json=call), 200)
    assert {**before, "timing": None} == {**after, "timing": None}


@pytest.mark.parametrize("rank", [10**9, 10**30])
def test_a_fresh_adapter_larger_than_an_upload_may_be_is_refused_before_it_takes_memory(
    client: TestClient, rank: int
) -> None:
    body = {"name": "huge", "config": {**LORA, "r": rank}, "dry_run": True}
    problem = expect_problem(client.post("/models/mlp/adapters", json=body), 422, "invalid")
    assert "ADAPTER_SERVICE_MAX_UPLOAD_BYTES" in problem["detail"]
