"""What a caller brings as a new adapter: forms and their parts, configs, weights, and what is wrong with them."""

import json
from typing import Any

import pytest
import torch
from apps import LORA, RANDOM_LORA, as_form, expect, expect_problem, places
from safetensors.torch import load, save
from starlette.testclient import TestClient

from models_registry.adapters.method import PEFT_PREFIX

PATH = "/models/mlp/adapters"
CONFIG = json.dumps(RANDOM_LORA).encode()
TENSORS = {
    "first.lora_A.weight": torch.full((2, 4), 0.5),
    "first.lora_B.weight": torch.full((8, 2), 0.25),
    "second.lora_A.weight": torch.full((2, 8), 0.5),
    "second.lora_B.weight": torch.full((3, 2), 0.25),
}
WEIGHTS = save(TENSORS)


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


def test_a_dry_run_of_a_version_checks_everything_and_stores_nothing(client: TestClient) -> None:
    expect(client.post(PATH, **as_form(CONFIG, WEIGHTS, name="next")), 201)
    address = "/adapters/next/versions"
    would_be = expect(client.post(address, **as_form(CONFIG, WEIGHTS, dry_run="true")), 200)
    assert (would_be["reference"], would_be["target_count"]) == ("next@2", 2)
    other = json.dumps({**LORA, "target_modules": ["third"]}).encode()
    expect_problem(client.post(address, **as_form(other, WEIGHTS, dry_run="true")), 422, "invalid")
    assert len(client.get("/adapters/next").json()["versions"]) == 1


def test_a_version_can_be_wanted_only_where_it_differs(client: TestClient) -> None:
    expect(client.post(PATH, **as_form(CONFIG, WEIGHTS, name="differing")), 201)
    address = "/adapters/differing/versions"
    for more in ({}, {"dry_run": "true"}):
        same = expect(client.post(address, **as_form(CONFIG, WEIGHTS, if_changed="true", **more)), 200)
        assert (same["reference"], same["unchanged"]) == ("differing@1", True)
    other = json.dumps({**json.loads(CONFIG), "lora_alpha": 3}).encode()
    keyed = {"Idempotency-Key": "differing"}
    for _ in range(2):
        changed = client.post(address, headers=keyed, **as_form(other, WEIGHTS, if_changed="true"))
        assert expect(changed, 201)["reference"] == "differing@2"
    assert expect(client.post(address, **as_form(other, WEIGHTS)), 201)["reference"] == "differing@3"


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
    problem = expect_problem(client.post(PATH, **as_form(CONFIG, weights, name="a")), 422, "invalid")
    assert places(problem) == ["weights"]
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
