"""An adapter's files over HTTP: caching, resuming, replacing, and reading them with PEFT."""

import hashlib
import io
import zipfile
from pathlib import Path

import httpx
import obstore
import pytest
import torch
from apps import (
    LORA,
    RANDOM_LORA,
    ROWS,
    SAFETENSORS,
    Start,
    create,
    expect,
    expect_problem,
    host,
    places,
    settings_in,
)
from safetensors.torch import load, save
from starlette.testclient import TestClient
from stores import S3Server

from models_registry.adapters.method import PEFT_PREFIX
from service.bootstrap import create_app
from service.front.api.http.files import BLOCK


def state_of(client: TestClient, name: str) -> bytes:
    response = client.get(f"/adapters/{name}/state")
    assert response.status_code == 200
    return response.content


def halved(state: bytes) -> bytes:
    return save({key: tensor / 2 for key, tensor in load(state).items()})


def test_the_state_is_safetensors_with_the_injected_models_keys(client: TestClient) -> None:
    created = create(client, "state")
    response = client.get("/adapters/state/state")
    assert response.headers["content-type"] == "application/vnd.safetensors"
    assert response.headers["content-disposition"] == 'attachment; filename="state@1.safetensors"'
    digest = hashlib.sha256(response.content).hexdigest()
    assert response.headers["etag"] == f'"{digest}"'
    assert created["digest"] == f"sha256:{digest}"
    assert load(response.content).keys() == {
        f"{module}.lora_{part}.weight" for module in ("first", "second") for part in "AB"
    }


def test_the_head_of_a_state_is_its_headers(client: TestClient) -> None:
    create(client, "head")
    same = {"X-Request-ID": "same"}
    whole, head = (client.request(method, "/adapters/head/state", headers=same) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == whole.headers


def test_a_state_that_the_caller_has_is_not_sent_again(client: TestClient) -> None:
    create(client, "cached")
    etag = client.get("/adapters/cached/state").headers["etag"]
    again = client.get("/adapters/cached/state", headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    expect(client.put("/adapters/cached/state", content=halved(state_of(client, "cached")), headers=SAFETENSORS), 201)
    assert client.get("/adapters/cached/state", headers={"If-None-Match": etag}).status_code == 200


def test_a_download_can_be_resumed(client: TestClient) -> None:
    create(client, "resumed")
    whole = state_of(client, "resumed")
    rest = client.get("/adapters/resumed/state", headers={"Range": "bytes=100-"})
    assert (rest.status_code, rest.content) == (206, whole[100:])
    assert rest.headers["content-range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    beyond = client.get("/adapters/resumed/state", headers={"Range": f"bytes={len(whole)}-"})
    expect_problem(beyond, 416, "range-not-satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(whole)}"


def test_peft_keys_make_another_file_with_an_etag_of_its_own(client: TestClient) -> None:
    create(client, "peft-keys")
    plain, peft = client.get("/adapters/peft-keys/state"), client.get("/adapters/peft-keys/state?keys=peft")
    assert peft.headers["etag"] == f'"{hashlib.sha256(peft.content).hexdigest()}"' != plain.headers["etag"]
    expected = {f"{PEFT_PREFIX}{key}": tensor for key, tensor in load(plain.content).items()}
    tensors = load(peft.content)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[key], tensor) for key, tensor in expected.items())


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


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ("version=2", 404, "not-found"),
        ("alias=prod", 404, "not-found"),
        ("alias=1", 404, "not-found"),
        ("version=0", 400, "malformed"),
        ("version=one", 400, "malformed"),
        ("version=99999999999999999999", 400, "malformed"),
        ("version=1&alias=prod", 400, "malformed"),
        ("keys=other", 400, "malformed"),
    ],
)
def test_a_version_that_is_not_there_is_not_found(client: TestClient, query: str, status: int, kind: str) -> None:
    if client.get("/adapters/queried").status_code == 404:
        create(client, "queried")
    expect_problem(client.get(f"/adapters/queried/state?{query}"), status, kind)


@pytest.mark.parametrize("file", ["state", "config", "checkpoint"])
def test_the_files_of_an_unknown_adapter_are_not_found(client: TestClient, file: str) -> None:
    expect_problem(client.get(f"/adapters/none/{file}"), 404, "not-found")


def test_a_damaged_blob_is_named_and_never_served(start: Start, tmp_path: Path) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    digest = create(client, "a")["digest"].removeprefix("sha256:")
    create(client, "sound", LORA)
    (blob,) = (path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and digest in path.name)
    blob.chmod(0o600)
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b"?")
    assert digest in expect_problem(client.get("/adapters/a/state"), 500, "damaged-blob")["detail"]
    assert digest in expect_problem(client.get("/adapters/a/checkpoint"), 500, "damaged-blob")["detail"]
    assert expect(client.get("/adapters/a/config"), 200)["r"] == 2
    call = {"adapter": "a", "inputs": {"x": ROWS}}
    expect(client.post("/models/mlp/infer", json=call), 200)  # what is in memory was read while it was right
    expect(client.post("/models/mlp/adapters/a/unload"), 200)
    assert digest in expect_problem(client.post("/models/mlp/infer", json=call), 500, "damaged-blob")["detail"]
    shown = {adapter["name"]: adapter for adapter in client.get("/adapters").json()["items"]}
    assert (shown["a"]["damaged"], shown["a"]["versions"][0]["damaged"], shown["sound"]["damaged"]) == (
        True,
        True,
        False,
    )
    expect(client.post("/models/mlp/infer", json=call | {"adapter": "sound"}), 200)
    assert client.get("/events").json()["items"][-1]["subject"] == f"sha256:{digest}"

    blob.write_bytes(whole)
    expect(client.post("/models/mlp/infer", json=call), 200)
    assert client.get("/adapters/a/state").content == whole
    assert client.get("/adapters/a").json()["damaged"] is False


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


def test_a_caller_may_get_a_state_by_a_buckets_own_url(s3_url: str, s3_server: S3Server, tmp_path: Path) -> None:
    in_s3 = {"blob_url": s3_url, "s3_endpoint": s3_server.endpoint}
    with TestClient(create_app(settings_in(tmp_path).model_copy(update=in_s3))) as client:
        host(client, "mlp", "bases:mlp")
        digest = create(client, "tone")["digest"].removeprefix("sha256:")
        answer = client.get("/adapters/tone/state?presign=true", follow_redirects=False)
        assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
        given = httpx.get(answer.headers["location"])
        assert hashlib.sha256(given.content).hexdigest() == digest
        assert given.content == state_of(client, "tone")
        # Only the stored bytes have such a URL, and only for whoever gets them.
        head = client.head("/adapters/tone/state?presign=true", follow_redirects=False)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(given.content)))
        assert client.get("/adapters/tone/state?presign=true&keys=peft").status_code == 200
        known = {"If-None-Match": f'"{digest}"'}
        assert client.get("/adapters/tone/state?presign=true", headers=known).status_code == 304
        # Nor is anybody sent to bytes that are known to be damaged.
        obstore.put(s3_server.client(s3_url), digest, b"torn")
        expect_problem(client.get("/adapters/tone/state"), 500, "damaged-blob")
        expect_problem(client.get("/adapters/tone/state?presign=true", follow_redirects=False), 500, "damaged-blob")


def test_a_directory_has_no_urls_so_that_the_service_gives_the_state_itself(client: TestClient) -> None:
    create(client, "unsigned")
    answer = client.get("/adapters/unsigned/state?presign=true", follow_redirects=False)
    assert (answer.status_code, answer.content) == (200, state_of(client, "unsigned"))


def test_a_large_state_is_sent_whole_and_in_parts(client: TestClient) -> None:
    rank = BLOCK // 16
    create(client, "large", {**RANDOM_LORA, "r": rank, "target_modules": ["first"]})
    same = {"X-Request-ID": "same"}
    whole = client.get("/adapters/large/state", headers=same)
    assert len(whole.content) > 2 * BLOCK
    assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'
    part = client.get("/adapters/large/state", headers={"Range": f"bytes=5-{BLOCK + 5}"})
    assert (part.status_code, part.content) == (206, whole.content[5 : BLOCK + 6])
    head = client.head("/adapters/large/state", headers=same)
    assert (head.content, head.headers) == (b"", whole.headers)
    with zipfile.ZipFile(io.BytesIO(client.get("/adapters/large/checkpoint").content)) as archive:
        assert archive.testzip() is None
        stored = archive.read("adapter_model.safetensors")
    peft = client.get("/adapters/large/state?keys=peft")
    assert peft.content == stored
    assert peft.headers["etag"] == f'"{hashlib.sha256(stored).hexdigest()}"'
