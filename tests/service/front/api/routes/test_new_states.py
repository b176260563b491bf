"""New weights for an adapter: the versions that they make, and what is refused."""

from pathlib import Path

import torch
from apps import (
    ROWS,
    SAFETENSORS,
    Start,
    create,
    expect,
    expect_problem,
    halved,
    host,
    places,
    state_of,
)
from safetensors.torch import save
from starlette.testclient import TestClient


def test_new_weights_are_a_new_version_and_the_old_one_stays(client: TestClient) -> None:
    create(client, "replaced")
    old = state_of(client, "replaced")
    response = client.put("/adapters/replaced/state", content=halved(old), headers=SAFETENSORS)
    created = expect(response, 201)
    assert (created["reference"], created["method"]) == ("replaced@2", "LORA")
    assert response.headers["location"] == "/adapters/replaced/state?version=2"
    assert client.get(response.headers["location"]).headers["etag"] == response.headers["etag"]
    assert state_of(client, "replaced") != old
    assert client.get("/adapters/replaced/state?version=1").content == old


def test_the_newest_version_answers_from_then_on(client: TestClient) -> None:
    create(client, "newest")
    call = {"adapter": "newest", "inputs": {"x": ROWS}}
    before = expect(client.post("/models/mlp/infer", json=call), 200)
    expect(client.put("/adapters/newest/state", content=halved(state_of(client, "newest")), headers=SAFETENSORS), 201)
    after = expect(client.post("/models/mlp/infer", json=call), 200)
    assert after["adapter"] == ["newest@2"] * 2
    assert after["outputs"] != before["outputs"]
    pinned = expect(client.post("/models/mlp/infer", json={**call, "adapter": "newest@1"}), 200)
    assert pinned["outputs"] == before["outputs"]


def test_a_new_version_can_say_what_it_builds_on(client: TestClient) -> None:
    create(client, "matched")
    first = client.get("/adapters/matched/state")
    body = halved(first.content)
    based = {**SAFETENSORS, "If-Match": first.headers["etag"]}
    expect(client.put("/adapters/matched/state", content=body, headers=based), 201)
    expect_problem(client.put("/adapters/matched/state", content=halved(body), headers=based), 412, "stale")
    weak = {**SAFETENSORS, "If-Match": f"W/{client.get('/adapters/matched/state').headers['etag']}"}
    expect_problem(client.put("/adapters/matched/state", content=halved(body), headers=weak), 412, "stale")
    expect(client.put("/adapters/matched/state", content=halved(body), headers={**SAFETENSORS, "If-Match": "*"}), 201)
    unquoted = {**SAFETENSORS, "If-Match": "abc"}
    expect_problem(client.put("/adapters/matched/state", content=body, headers=unquoted), 400, "malformed")
    assert len(client.get("/adapters/matched").json()["versions"]) == 3


def test_weights_that_do_not_fit_leave_no_version(client: TestClient) -> None:
    create(client, "unfit")
    response = client.put(
        "/adapters/unfit/state", content=save({"first.lora_A.weight": torch.ones(1)}), headers=SAFETENSORS
    )
    assert "weights.second.lora_B.weight" in places(expect_problem(response, 422, "invalid"))
    expect_problem(client.put("/adapters/unfit/state", content=b"\x80\x04", headers=SAFETENSORS), 422, "invalid")
    assert len(client.get("/adapters/unfit").json()["versions"]) == 1


def test_a_state_is_only_read_as_safetensors(client: TestClient) -> None:
    create(client, "typed")
    response = client.put("/adapters/typed/state", json={})
    assert "application/vnd.safetensors" in expect_problem(response, 415, "unsupported-media-type")["detail"]


def test_weights_that_the_newest_version_has_make_no_new_one(client: TestClient) -> None:
    created = create(client, "unchanged")
    state = state_of(client, "unchanged")
    peft = client.get("/adapters/unchanged/state?keys=peft").content
    for same in (state, peft):
        response = client.put("/adapters/unchanged/state", content=same, headers=SAFETENSORS)
        answer = expect(response, 200)
        assert answer["unchanged"] is True
        assert (answer["reference"], answer["digest"]) == ("unchanged@1", created["digest"])
        assert response.headers["location"] == "/adapters/unchanged/state?version=1"
        assert response.headers["etag"] == f'"{created["digest"].removeprefix("sha256:")}"'
    changed = client.put("/adapters/unchanged/state", content=halved(state), headers=SAFETENSORS)
    assert expect(changed, 201)["unchanged"] is False
    back = client.put(
        "/adapters/unchanged/state", content=state, headers=SAFETENSORS
    )  # as version 1, not as the newest
    assert expect(back, 201)["reference"] == "unchanged@3"
    forced = client.put("/adapters/unchanged/state?force=true", content=state, headers=SAFETENSORS)
    assert (expect(forced, 201)["reference"], forced.json()["unchanged"]) == ("unchanged@4", False)


def test_a_dry_run_says_which_version_new_weights_would_be(client: TestClient) -> None:
    create(client, "tried")
    state = state_of(client, "tried")
    address = "/adapters/tried/state?dry_run=true"
    would_be = expect(client.put(address, content=halved(state), headers=SAFETENSORS), 200)
    assert (would_be["reference"], would_be["unchanged"]) == ("tried@2", False)
    same = expect(client.put(address, content=state, headers=SAFETENSORS), 200)
    assert (same["reference"], same["unchanged"]) == ("tried@1", True)
    forced = expect(client.put(f"{address}&force=true", content=state, headers=SAFETENSORS), 200)
    assert (forced["reference"], forced["unchanged"]) == ("tried@2", False)
    stale = client.put(address, content=state, headers={**SAFETENSORS, "If-Match": '"0"'})
    expect_problem(stale, 412, "stale")
    wrong = client.put(address, content=save({"first.lora_A.weight": torch.ones(2, 5)}), headers=SAFETENSORS)
    expect_problem(wrong, 422, "invalid")
    assert [version["version"] for version in client.get("/adapters/tried").json()["versions"]] == [1]
    stored = expect(client.put("/adapters/tried/state", content=halved(state), headers=SAFETENSORS), 201)
    assert stored == would_be


def test_a_dry_run_names_the_number_that_is_really_next(client: TestClient) -> None:
    create(client, "numbered")
    state = state_of(client, "numbered")
    expect(client.put("/adapters/numbered/state", content=halved(state), headers=SAFETENSORS), 201)
    assert client.delete("/adapters/numbered/versions/2").status_code == 204
    tried = client.put("/adapters/numbered/state?dry_run=true", content=halved(state), headers=SAFETENSORS)
    stored = client.put("/adapters/numbered/state", content=halved(state), headers=SAFETENSORS)
    assert expect(tried, 200)["reference"] == expect(stored, 201)["reference"] == "numbered@3"


def test_an_unchanged_state_must_build_on_the_newest_too(client: TestClient) -> None:
    create(client, "stale-same")
    headers = {**SAFETENSORS, "If-Match": '"0"'}
    answer = client.put("/adapters/stale-same/state", content=state_of(client, "stale-same"), headers=headers)
    assert expect_problem(answer, 412, "stale")["hint"]


def test_a_state_takes_metadata_in_its_query(client: TestClient) -> None:
    create(client, "noted")
    state = state_of(client, "noted")
    query = {"metadata": '{"run": 7, "by": ["me"]}'}
    expect(client.put("/adapters/noted/state", params=query, content=halved(state), headers=SAFETENSORS), 201)
    assert client.get("/adapters/noted/versions/2").json()["metadata"] == {"run": 7, "by": ["me"]}
    query = {"metadata": '{"run": 8}'}
    same = client.put("/adapters/noted/state", params=query, content=halved(state), headers=SAFETENSORS)
    assert "metadata was not stored" in expect(same, 200)["warnings"][0]
    for wrong, status in (("{", 400), ("[1]", 422), ("7", 422)):
        answer = client.put("/adapters/noted/state", params={"metadata": wrong}, content=state, headers=SAFETENSORS)
        expect(answer, status)
    assert len(client.get("/adapters/noted").json()["versions"]) == 2


def test_putting_the_newest_state_again_mends_its_blob(start: Start, tmp_path: Path) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    digest = create(client, "torn")["digest"].removeprefix("sha256:")
    state = state_of(client, "torn")
    (blob,) = (path for path in (tmp_path / "blobs").rglob(f"*{digest}*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"torn")
    assert "same file again" in expect_problem(client.get("/adapters/torn/state"), 500, "damaged-blob")["hint"]
    assert client.get("/adapters/torn").json()["damaged"] is True
    expect(client.put("/adapters/torn/state", content=state, headers=SAFETENSORS), 200)
    assert client.get("/adapters/torn").json()["damaged"] is False
    assert state_of(client, "torn") == state
