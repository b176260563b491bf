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
    halved,
    host,
    settings_in,
    state_of,
)
from safetensors.torch import load
from starlette.testclient import TestClient
from stores import S3Server

from models_registry.adapters.method import PEFT_PREFIX
from service.bootstrap import create_app
from service.front.api.http.files import BLOCK


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
