"""Adapters over HTTP: fresh ones and uploads, versions, lists, in and out of memory, and what is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from apps import LORA, RANDOM_LORA, ROWS, Start, as_form, create, expect, expect_problem, host, places, safetensors
from gated import gate_named
from safetensors.torch import load, save
from starlette.testclient import TestClient

from models_registry.adapters.method import PEFT_PREFIX
from models_registry.storage.directory import DirectoryBlobStore

CONFIG = json.dumps(RANDOM_LORA).encode()
TENSORS = {
    "first.lora_A.weight": torch.full((2, 4), 0.5),
    "first.lora_B.weight": torch.full((8, 2), 0.25),
    "second.lora_A.weight": torch.full((2, 8), 0.5),
    "second.lora_B.weight": torch.full((3, 2), 0.25),
}
WEIGHTS = save(TENSORS)
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


@pytest.mark.parametrize("prefix", ["", PEFT_PREFIX])
def test_an_upload_is_stored_under_its_plain_keys(client: TestClient, prefix: str) -> None:
    name = f"upload-{len(prefix)}"
    weights = save({f"{prefix}{key}": tensor for key, tensor in TENSORS.items()})
    form = as_form(CONFIG, weights, name=name, metadata='{"run": 7}')
    created = expect(client.post(PATH, **form), 201)
    assert created["parameters"] == sum(tensor.numel() for tensor in TENSORS.values())
    stored = load(client.get(f"/adapters/{name}/state").content)
    assert stored.keys() == TENSORS.keys()
    assert all(torch.equal(stored[key], tensor) for key, tensor in TENSORS.items())
    assert client.get(f"/adapters/{name}").json()["versions"][0]["metadata"] == {"run": 7}


def test_the_config_of_an_upload_may_be_a_plain_field(client: TestClient) -> None:
    fields = {"name": "field", "config": CONFIG.decode()}
    expect(client.post(PATH, files={"weights": ("w", WEIGHTS)}, data=fields), 201)


@pytest.mark.parametrize("form", [False, True])
def test_a_dry_run_checks_everything_and_stores_nothing(client: TestClient, form: bool) -> None:
    body: dict[str, Any] = {"json": _json("dry", dry_run=True)}
    if form:
        body = as_form(CONFIG, WEIGHTS, name="dry", dry_run="true")
    would_be = expect(client.post(PATH, **body), 200)
    assert (would_be["reference"], would_be["method"]) == ("dry@1", "LORA")
    expect_problem(client.get("/adapters/dry"), 404, "not-found")
    wrong = {**_json("dry", dry_run=True), "config": {**LORA, "target_modules": ["third"]}}
    expect_problem(client.post(PATH, json=wrong), 422, "invalid")


@pytest.mark.parametrize("accepted", ["flavour", "other,flavour", '["flavour"]', ["other", "flavour"]])
def test_an_unknown_key_of_a_config_is_refused_unless_it_is_accepted(
    client: TestClient, accepted: str | list[str]
) -> None:
    config = json.dumps({**RANDOM_LORA, "flavour": "sour"}).encode()
    form = as_form(config, WEIGHTS, name="flavoured", dry_run="true")
    assert places(expect_problem(client.post(PATH, **form), 422, "invalid")) == ["config.flavour"]
    form["data"]["accept_unknown"] = accepted
    expect(client.post(PATH, **form), 200)


@pytest.mark.parametrize(("name", "meant"), [("org/name", "org-name"), (".a b", "a-b"), ("\u00e9", None)])
def test_a_name_that_is_none_is_told_what_names_are_and_one_that_would_do(
    client: TestClient, name: str, meant: str | None
) -> None:
    problem = expect_problem(client.post(PATH, json=_json(name)), 422, "invalid")
    assert places(problem) == ["name"]
    message = problem["errors"][0]["message"]
    assert "letters, digits" in message
    assert ("would do" in message) is (meant is not None)
    assert meant is None or f"{meant!r} would do" in message


def test_targets_that_the_base_lacks_are_refused_unless_they_are_accepted(client: TestClient) -> None:
    config = {**RANDOM_LORA, "target_modules": [*RANDOM_LORA["target_modules"], "w1"]}
    form = as_form(json.dumps(config).encode(), WEIGHTS, name="unmatched")
    problem = expect_problem(client.post(PATH, **form), 422, "invalid")
    assert places(problem) == ["config.target_modules"]
    assert "accept_unmatched" in problem["hint"]
    form["data"]["accept_unmatched"] = "true"
    (warning,) = expect(client.post(PATH, **form), 201)["warnings"]
    assert warning.startswith("target_modules: 'w1' matches none of")
    expect(client.post("/models/mlp/adapters/unmatched/unload"), 200)
    expect(client.post("/models/mlp/adapters/unmatched/load"), 200)
    state = {"content-type": "application/vnd.safetensors"}
    other = save({key: tensor + 1 for key, tensor in TENSORS.items()})
    expect(client.put("/adapters/unmatched/state", content=other, headers=state), 201)
    files = {"config": ("c", json.dumps(config).encode()), "weights": ("w", WEIGHTS)}
    expect_problem(client.post("/adapters/unmatched/versions", files=files), 422, "invalid")
    expect(client.post("/adapters/unmatched/versions", files=files, data={"accept_unmatched": "true"}), 201)
    fresh = {"name": "unmatched-fresh", "config": config}
    expect_problem(client.post(PATH, json=fresh), 422, "invalid")
    assert len(expect(client.post(PATH, json={**fresh, "accept_unmatched": True}), 201)["warnings"]) == 1


def _json(name: str, **others: Any) -> dict[str, Any]:
    return {"name": name, "config": LORA, **others}


@pytest.mark.parametrize(
    ("body", "kind", "wrong"),
    [
        ({}, "invalid", ["config", "name"]),
        ({"name": "a/b", "config": LORA}, "invalid", ["name"]),
        ({"name": ".a", "config": LORA}, "invalid", ["name"]),
        ({"name": 1, "config": LORA}, "invalid", ["name"]),
        (_json("a", more=1), "invalid", ["more"]),
        (_json("a", seed=-1), "invalid", ["seed"]),
        (_json("a", metadata=[]), "invalid", ["metadata"]),
        ({"name": "a", "config": {}}, "unsupported", ["config.peft_type"]),
        ({"name": "a", "config": {**LORA, "r": "8"}}, "invalid", ["config.r"]),
        ({"name": "a", "config": {**LORA, "r": 0}}, "invalid", ["config.r"]),
        ({"name": "a", "config": {**LORA, "layer_replication": [[0, 1]]}}, "unsupported", ["config.layer_replication"]),
        ({"name": "a", "config": {**LORA, "init_lora_weights": "pissa"}}, "invalid", ["config.init_lora_weights"]),
    ],
)
def test_a_wrong_new_adapter_names_everything_that_is_wrong(
    client: TestClient, body: dict[str, Any], kind: str, wrong: list[str]
) -> None:
    assert sorted(places(expect_problem(client.post(PATH, json=body), 422, kind))) == wrong
    expect_problem(client.get("/adapters/a"), 404, "not-found")


def test_targets_that_match_nothing_are_named(client: TestClient) -> None:
    config = {**LORA, "target_modules": ["third", "fourth"]}
    problem = expect_problem(client.post(PATH, json={"name": "a", "config": config}), 422, "invalid")
    said = problem["detail"] + json.dumps(problem["errors"])
    assert "third" in said
    assert "fourth" in said


def test_weights_that_do_not_fit_are_all_named(client: TestClient) -> None:
    tensors = {
        "first.lora_A.weight": torch.ones(3, 4),
        "first.lora_B.weight": torch.full((8, 2), torch.nan),
        "second.lora_A.weight": torch.ones(2, 8),
        "third.lora_A.weight": torch.ones(2, 2),
    }
    problem = expect_problem(client.post(PATH, **as_form(CONFIG, save(tensors), name="a")), 422, "invalid")
    assert set(places(problem)) == {
        "weights.first.lora_A.weight",
        "weights.first.lora_B.weight",
        "weights.second.lora_B.weight",
        "weights.third.lora_A.weight",
    }


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        WEIGHTS[:-1],
        WEIGHTS[:20],
        (2**62).to_bytes(8, "little") + b"{}",
        b"PK\x03\x04 a pickle of torch's",
        b"\x80\x04 a bare pickle",
    ],
)
def test_what_is_no_safetensors_file_is_refused(client: TestClient, weights: bytes) -> None:
    expect_problem(client.post(PATH, **as_form(CONFIG, weights, name="a")), 422, "invalid")
    expect_problem(client.get("/adapters/a"), 404, "not-found")


def test_a_form_names_every_field_that_is_missing_unknown_or_twice(client: TestClient) -> None:
    files = [("weights", ("a", WEIGHTS)), ("weights", ("b", WEIGHTS))]
    problem = expect_problem(client.post(PATH, files=files, data={"name": ["a", "b"]}), 422, "invalid")
    assert sorted(places(problem)) == ["name", "weights"]
    problem = expect_problem(client.post(PATH, files={"weights": ("a", WEIGHTS)}, data={"seed": "1"}), 422, "invalid")
    assert sorted(places(problem)) == ["config", "name", "seed"]


@pytest.mark.parametrize(
    ("field", "form"),
    [
        ("config", as_form(b"{", WEIGHTS, name="a")),
        ("metadata", as_form(CONFIG, WEIGHTS, name="a", metadata="[NaN]")),
        ("accept_unknown", as_form(CONFIG, WEIGHTS, name="a", accept_unknown='["')),
        ("weights", {"files": {"config": ("c", CONFIG)}, "data": {"name": "a", "weights": "text"}}),
        ("name", {"files": {"config": ("c", CONFIG), "weights": ("w", WEIGHTS), "name": ("n", b"\xff")}}),
    ],
)
def test_a_part_that_cannot_be_read_is_named(client: TestClient, field: str, form: dict[str, Any]) -> None:
    assert places(expect_problem(client.post(PATH, **form), 422, "invalid")) == [field]


@pytest.mark.parametrize(
    "metadata", ['{"x": 1e999}', '{"x": ' * 300 + "1" + "}" * 300], ids=["too large a number", "too deep"]
)
def test_metadata_that_could_not_be_written_again_is_refused(client: TestClient, metadata: str) -> None:
    form = as_form(CONFIG, WEIGHTS, name="a", metadata=metadata)
    assert places(expect_problem(client.post(PATH, **form), 422, "invalid")) == ["metadata"]


def test_a_taken_name_is_a_conflict_on_every_model(client: TestClient) -> None:
    create(client, "taken")
    config = {**LORA, "target_modules": ["linear"]}
    here = expect_problem(client.post(PATH, json=_json("taken")), 409, "conflict")
    assert "POST /adapters/taken/versions" in here["hint"]
    there = client.post("/models/dummy/adapters", json={"name": "taken", "config": config})
    elsewhere = expect_problem(there, 409, "conflict")
    assert "on the base model 'mlp'" in elsewhere["detail"]
    assert "POST /adapters/taken/versions" in elsewhere["hint"]


def test_an_adapter_on_an_unknown_model_is_not_found(client: TestClient) -> None:
    expect_problem(client.post("/models/none/adapters", json=_json("a")), 404, "not-found")


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
    form = as_form(CONFIG, WEIGHTS, name="other")
    assert places(expect_problem(client.post("/adapters/named/versions", **form), 422, "invalid")) == ["name"]
    expect_problem(client.post("/adapters/none/versions", **as_form(CONFIG, WEIGHTS)), 404, "not-found")
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


def test_an_adapter_goes_out_of_memory_and_comes_back(client: TestClient) -> None:
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


def test_many_who_wait_for_an_adapter_to_load_leave_threads_to_the_others(
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


def test_an_adapter_that_is_removed_is_gone(client: TestClient) -> None:
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
