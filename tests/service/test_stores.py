"""What callers see while a blob store is full, read-only or away: nothing changes, and what is in memory answers."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import obstore
import pytest
from apps import ROWS, SAFETENSORS, Start, create, expect, expect_problem, host, settings_in
from disks import Disk, disk_at
from e2e.process import until
from obstore.store import ObjectStore
from starlette.testclient import TestClient
from stores import S3Server

from service.bootstrap import create_app

LORA = {"peft_type": "LORA", "r": 3, "target_modules": ["first"]}
BLOB = "sha256:"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Where the app's blobs are, if a test asks for it before the app."""
    with disk_at(tmp_path / "blobs") as disk:
        yield disk


@pytest.fixture
def on_disk(disk: Disk, start: Start) -> TestClient:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "tone")
    infer(client)
    return client


@pytest.fixture
def on_s3(s3_url: str, s3_server: S3Server, tmp_path: Path) -> Iterator[TestClient]:
    changed = {"blob_url": s3_url, "s3_endpoint": s3_server.endpoint}
    with TestClient(create_app(settings_in(tmp_path).model_copy(update=changed))) as client:
        host(client, "mlp", "bases:mlp")
        create(client, "tone")
        infer(client)
        yield client


def infer(client: TestClient, adapter: str = "tone") -> Any:
    return expect(client.post("/models/mlp/infer", json={"adapter": adapter, "inputs": {"x": ROWS}}), 200)["outputs"]


def state(client: TestClient) -> tuple[Any, str]:
    """All that the registry says."""
    listed = client.get("/adapters")
    return expect(listed, 200)["items"], listed.headers["x-registry-generation"]


def new_adapter(client: TestClient) -> Any:
    return client.post("/models/mlp/adapters", json={"name": "late", "config": LORA})


def degraded(client: TestClient) -> str:
    return " ".join(expect(client.get("/health/ready"), 200)["degraded"])


def test_a_full_disk_is_507_and_changes_nothing(on_disk: TestClient, disk: Disk) -> None:
    before = state(on_disk)
    with disk.full():
        files = sorted(disk.path.iterdir())
        expect_problem(new_adapter(on_disk), 507, "no-room")
        assert sorted(disk.path.iterdir()) == files
        infer(on_disk)
    assert [item["name"] for item in before[0]] == [item["name"] for item in state(on_disk)[0]]
    assert before[1] == state(on_disk)[1]

    expect(new_adapter(on_disk), 201)


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
def test_a_sqlite_file_that_is_taken_away_is_noticed(how: str, start: Start, tmp_path: Path) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "tone")
    answered, file = infer(client), tmp_path / "registry.db"
    kept = file.rename(tmp_path / "kept")
    if how == "removed":
        kept.unlink()
    elif how == "replaced":
        file.write_bytes(kept.read_bytes())

    not_ready = expect_problem(client.get("/health/ready"), 503, "unavailable")
    assert f"{file} was moved, removed or replaced" in not_ready["detail"]
    expect_problem(new_adapter(client), 503, "unavailable")
    for address in ("/adapters", "/adapters/tone", "/models", "/events"):
        expect_problem(client.get(address), 503, "unavailable")
    assert infer(client) == answered

    if how != "removed":
        kept.replace(file)
        expect(client.get("/health/ready"), 200)
        expect(new_adapter(client), 201)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_blob_directory_that_is_removed_takes_nothing_and_damages_nothing(
    replaced: bool, start: Start, tmp_path: Path
) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "tone")
    answered, directory = infer(client), tmp_path / "blobs"
    kept = directory.rename(tmp_path / "kept")
    if replaced:
        directory.mkdir()

    assert "moved, removed or replaced" in degraded(client)
    expect_problem(new_adapter(client), 503, "unavailable")
    expect_problem(client.get("/adapters/tone/state"), 503, "unavailable")
    assert not expect(client.get("/adapters/tone"), 200)["versions"][0]["damaged"]
    assert infer(client) == answered

    if replaced:
        directory.rmdir()
    kept.rename(directory)
    assert degraded(client) == ""
    assert client.get("/adapters/tone/state").is_success
    expect(new_adapter(client), 201)


def test_a_pipe_in_a_blobs_place_is_damaged_and_an_upload_mends_it(start: Start, tmp_path: Path) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    created, whole = create(client, "tone"), client.get("/adapters/tone/state").content
    blob = tmp_path / "blobs" / created["digest"].removeprefix(BLOB)
    blob.unlink()
    os.mkfifo(blob)

    problem = expect_problem(client.get("/adapters/tone/state"), 500, "damaged-blob")
    assert "lie in no regular file" in problem["detail"]
    assert expect(client.get("/adapters/tone"), 200)["versions"][0]["damaged"]

    again = expect(client.put("/adapters/tone/state", content=whole, headers=SAFETENSORS), 200)
    assert again["unchanged"]
    assert client.get("/adapters/tone/state?version=1").content == whole


def test_a_read_only_disk_is_503_and_changes_nothing(on_disk: TestClient, disk: Disk) -> None:
    before = state(on_disk)
    with disk.read_only():
        problem = new_adapter(on_disk)
        expect_problem(problem, 503, "unavailable")
        assert int(problem.headers["retry-after"]) > 0
        infer(on_disk)
        assert str(disk.path) in degraded(on_disk)
    assert before[1] == state(on_disk)[1]
    assert degraded(on_disk) == ""

    expect(new_adapter(on_disk), 201)


def test_while_a_bucket_is_away_what_is_resident_answers_and_writes_are_503(
    on_s3: TestClient, s3_server: S3Server
) -> None:
    answered, before = infer(on_s3), state(on_s3)
    with s3_server.away():
        problem = new_adapter(on_s3)
        expect_problem(problem, 503, "unavailable")
        assert int(problem.headers["retry-after"]) > 0
        expect_problem(on_s3.get("/adapters/tone/state"), 503, "unavailable")
        assert infer(on_s3) == answered
        assert "'blobs'" in degraded(on_s3)
    assert before[1] == state(on_s3)[1]
    assert degraded(on_s3) == ""

    expect(new_adapter(on_s3), 201)


def test_a_service_starts_while_its_bucket_is_away(
    on_s3: TestClient, s3_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    changed = {"blob_url": s3_url, "s3_endpoint": s3_server.endpoint}
    with ExitStack() as stack:
        with s3_server.away():
            other = stack.enter_context(TestClient(create_app(settings_in(tmp_path).model_copy(update=changed))))
            until(lambda: other.get("/health/ready").status_code == 200)
            assert "'blobs'" in degraded(other)
        infer(other)


def test_bytes_that_changed_in_a_bucket_are_never_served_and_an_upload_mends_them(
    on_s3: TestClient, s3_url: str, s3_server: S3Server
) -> None:
    raw: ObjectStore = s3_server.client(s3_url)
    created = expect(new_adapter(on_s3), 201)
    whole = on_s3.get("/adapters/late/state").content
    obstore.put(raw, created["digest"].removeprefix(BLOB), whole[:-1])

    problem = expect_problem(on_s3.get("/adapters/late/state"), 500, "damaged-blob")
    assert created["digest"] in problem["detail"]
    assert expect(on_s3.get("/adapters/late"), 200)["versions"][0]["damaged"]
    infer(on_s3)

    expect(
        on_s3.put("/adapters/late/state", content=whole, headers={"content-type": "application/vnd.safetensors"}), 200
    )
    assert on_s3.get("/adapters/late/state?version=1").content == whole
    assert not expect(on_s3.get("/adapters/late"), 200)["versions"][0]["damaged"]
