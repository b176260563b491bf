"""`adapterctl fsck`, `gc`, `backup` and `restore` beside a service that runs."""

import os
import time
from pathlib import Path

import pytest
from apps import Start, create, expect, expect_problem, host, settings_in
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from service import cli
from service.bootstrap import create_app

pytestmark = pytest.mark.usefixtures("quiet_cli")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Run":
    monkeypatch.setenv("ADAPTER_SERVICE_DATABASE_URL", f"sqlite:///{tmp_path}/registry.db")
    monkeypatch.setenv("ADAPTER_SERVICE_BLOB_URL", f"file:{tmp_path}/blobs")
    return Run(tmp_path / "blobs")


class Run:
    """The command line over the stores that the app of the fixture `start` uses."""

    def __init__(self, blobs: Path) -> None:
        self.blobs = blobs

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.app, arguments)

    def make_old(self, digest: str, hours: float = 2.0) -> None:
        then = time.time() - hours * 3600
        os.utime(self.blobs / digest, (then, then))


def test_stores_that_are_sound_end_with_0(start: Start, run: Run) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "tone")
    done = run("fsck")

    assert done.exit_code == 0, done.output
    assert "Checked 1 blobs: 1 sound." in done.output


def test_a_blob_that_is_wrong_is_said_with_its_adapters_and_listed_as_damaged(start: Start, run: Run) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    for name in ("tone", "twin"):
        digest = create(client, name)["digest"].removeprefix("sha256:")
    whole = (run.blobs / digest).read_bytes()
    (run.blobs / digest).write_bytes(whole[:-1])
    done = run("fsck")

    assert done.exit_code == 1
    assert f"damaged: sha256:{digest} of tone@1, twin@1" in done.output
    expect_problem(client.get("/adapters/tone/state"), 500, "damaged-blob")

    (run.blobs / digest).write_bytes(whole)
    assert run("fsck").exit_code == 0
    assert client.get("/adapters/tone/state").content == whole

    (run.blobs / digest).unlink()
    done = run("fsck")
    assert done.exit_code == 1
    assert f"missing: sha256:{digest} of tone@1, twin@1" in done.output
    expect_problem(client.get("/adapters/tone/state"), 500, "damaged-blob")


def test_garbage_goes_once_it_is_old(start: Start, run: Run) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    digests = {
        name: create(client, name, {"peft_type": "LORA", "r": rank, "target_modules": ["first"]})["digest"][7:]
        for rank, name in enumerate(("kept", "old", "young"), 1)
    }
    for name in ("old", "young"):
        expect(client.delete(f"/adapters/{name}"), 204)
    run.make_old(digests["kept"])
    run.make_old(digests["old"])

    assert "No version names 2 other blobs" in run("fsck").output
    assert f"sha256:{digests['old']}" in run("gc", "--dry-run").output
    assert (run.blobs / digests["old"]).exists()
    done = run("gc")

    assert done.exit_code == 0, done.output
    assert f"sha256:{digests['old']}" in done.output
    assert "Removed 1 blobs" in done.output
    assert not (run.blobs / digests["old"]).exists()
    assert (run.blobs / digests["young"]).exists()
    assert client.get("/adapters/kept/state").status_code == 200


def test_an_upload_of_what_is_old_garbage_saves_it(start: Start, run: Run) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "kept", {"peft_type": "IA3", "target_modules": ["first"], "feedforward_modules": []})
    digest = create(client, "gone")["digest"][7:]
    expect(client.delete("/adapters/gone"), 204)
    run.make_old(digest)
    assert create(client, "again")["digest"][7:] == digest

    assert "Removed 0 blobs" in run("gc").output
    assert client.get("/adapters/again/state").status_code == 200


def test_the_wrong_registry_removes_nothing(start: Start, run: Run, tmp_path: Path) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    digest = create(client, "tone")["digest"][7:]
    run.make_old(digest)
    other = f"sqlite:///{tmp_path}/other.db"
    assert run("migrate", "--database-url", other).exit_code == 0
    done = run("gc", "--database-url", other)

    assert done.exit_code == 2
    assert "names none of the 1 blobs" in done.output
    assert (run.blobs / digest).exists()
    assert "Removed 1 blobs" in run("gc", "--database-url", other, "--even-all").output


@pytest.mark.parametrize("command", ["fsck", "gc"])
def test_a_store_that_is_away_is_said_in_a_line(run: Run, command: str, tmp_path: Path) -> None:
    run("migrate")
    (tmp_path / "file").touch()
    done = run(command, "--blob-url", f"file:{tmp_path}/file/blobs")

    assert done.exit_code == 2
    assert "Can't reach the blob store" in done.output
    assert "Traceback" not in done.output


def test_a_backup_made_beside_the_service_is_served_elsewhere(start: Start, run: Run, tmp_path: Path) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "tone")
    weights = client.get("/adapters/tone/state").content
    done = run("backup", f"{tmp_path}/backup")
    assert done.exit_code == 0, done.output
    assert "Backed up 1 adapters with 1 versions and 1 blobs" in done.output

    other = tmp_path / "elsewhere"
    elsewhere = (f"--database-url=sqlite:///{other}/registry.db", f"--blob-url=file:{other}/blobs")
    done = run("restore", f"{tmp_path}/backup", *elsewhere)
    assert done.exit_code == 0, done.output
    with TestClient(create_app(settings_in(other))) as restored:
        assert restored.get("/adapters/tone/state").content == weights
    again = run("restore", f"{tmp_path}/backup", *elsewhere)
    assert again.exit_code == 2
    assert "isn't empty" in again.output
