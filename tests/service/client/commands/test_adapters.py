"""Adapters by the command line: pushed from PEFT's directory, found, shown, labelled, pulled, removed."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from apps import RANDOM_LORA

from service.client import CheckpointFiles, Client

from .conftest import Command


@pytest.fixture
def checkpoint(client: Client, tmp_path: Path) -> Path:
    """What PEFT would have saved."""
    client.adapters.create("seed", RANDOM_LORA, model="mlp", seed=1)
    files = CheckpointFiles.open(client.adapters.pull("seed", tmp_path / "checkpoint"))
    client.adapters.delete("seed")
    return files.save(tmp_path / "checkpoint")


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths to which weights are sent."""
    sent: list[str] = []
    send = httpx.Client.send

    def note(self: httpx.Client, request: httpx.Request, **how: Any) -> httpx.Response:
        if request.method in {"POST", "PUT"}:
            sent.append(request.url.path)
        return send(self, request, **how)

    monkeypatch.setattr(httpx.Client, "send", note)
    return sent


def test_a_push_says_what_it_would_make_asks_and_sends_it_once(
    command: Command, client: Client, checkpoint: Path, uploads: list[str]
) -> None:
    first = command("push", str(checkpoint), "told", "--base", "mlp", "--metadata", '{"run": 7}', lines="y\n")
    assert re.search(r"A new adapter told on mlp: \d+ bytes to send\.", first.err)
    assert "A new adapter told on mlp: LORA" in first.err
    assert first.out.endswith("told@1\n")
    assert uploads == ["/models/mlp/adapters"]
    assert client.adapters.get("told").newest.metadata == {"run": 7}
    again = command("push", str(checkpoint), "told", "--base", "mlp", lines="y\n")
    assert "A version of told on mlp after 1: " in again.err
    assert "told@1 has these bytes" in again.err
    assert again.out.endswith("told@1\n")
    changed = CheckpointFiles.of(RANDOM_LORA, client.adapters.state("told"))
    config = json.loads(changed.config) | {"lora_alpha": 5}
    CheckpointFiles(json.dumps(config).encode(), changed.weights).save(checkpoint)
    second = command("push", str(checkpoint), "told", "--base", "mlp", "--yes")
    assert "Version 2 over 1 of told" in second.err
    assert uploads[1:] == ["/adapters/told/state", "/adapters/told/versions"]
    assert [version.version for version in client.adapters.get("told").versions] == [1, 2]


def test_a_check_says_what_a_push_would_come_to_and_stores_nothing(
    command: Command, client: Client, checkpoint: Path
) -> None:
    checked = command("check", str(checkpoint), "only-checked", "--base", "mlp")
    assert "A new adapter only-checked on mlp: LORA" in checked.err
    assert checked.out == "only-checked@1\n"
    assert "only-checked" not in [adapter.name for adapter in client.adapters.list()]
    assert command("check", str(checkpoint), "only-checked", "--base", "nobody").code == 1


def test_a_push_that_is_refused_stores_nothing(command: Command, client: Client, checkpoint: Path) -> None:
    assert command("push", str(checkpoint), "refused", "--base", "mlp", lines="n\n").code == 1
    ran = command("push", str(checkpoint), "refused", "--base", "nobody", "--yes")
    assert ran.code == 1
    assert "nobody" in ran.err
    assert "refused" not in [adapter.name for adapter in client.adapters.list()]


def test_a_directory_without_a_checkpoint_is_named(command: Command, tmp_path: Path) -> None:
    ran = command("push", str(tmp_path), "lost", "--base", "mlp")
    assert ran.code == 1
    assert "adapter_config.json" in ran.err


def test_an_adapter_is_listed_shown_labelled_and_pulled(command: Command, client: Client, tmp_path: Path) -> None:
    client.adapters.create("found", RANDOM_LORA, model="mlp", seed=2)
    client.adapters.promote("found", 1, alias="prod", reason="the first")
    assert command("label", "found", "stage=prod", "lang=de").out == "lang=de, stage=prod\n"
    assert command("label", "found", "lang-").out == "stage=prod\n"
    listed = command("list", "--model", "mlp").out
    assert "prod=1" in listed
    assert "stage=prod" in listed
    assert "found" in command("list", "--format", "id").out.split()
    shown = command("show", "found").out
    assert "found on mlp, private" in shown
    assert "prod" in shown
    target = tmp_path / "pulled"
    assert command("pull", "found@prod", str(target)).out == f"{target}\n"
    assert CheckpointFiles.open(target).config
    log = command("log", "found").out
    assert log.index("alias.moved") < log.index("adapter.created")
    assert "the first" in log


def test_a_list_is_filtered_and_sorted(command: Command, client: Client) -> None:
    for seed, (name, stage) in enumerate((("list-a", "prod"), ("list-b", "dev"), ("list-c", "prod"))):
        client.adapters.create(name, RANDOM_LORA, model="mlp", seed=seed)
        client.adapters.describe(name, labels={"listed": stage})
    ids = command("list", "--format", "id", "-l", "listed=prod", "--method", "lora", "--sort", "-name").out.split()
    assert ids == ["list-c", "list-a"]
    assert command("list", "--format", "id", "--text", "ist-b").out.split() == ["list-b"]
    assert command("list", "--sort", "size").code == 1


def test_whatever_reads_a_pipe_gets_whole_cells(command: Command, client: Client) -> None:
    client.adapters.create("piped", RANDOM_LORA, model="mlp", seed=4)
    client.adapters.describe("piped", labels={f"a-long-label-number-{number}": "bold" for number in range(9)})
    (line,) = [line for line in command("list").out.splitlines() if line.startswith("piped")]
    assert all(f"a-long-label-number-{number}=bold" in line for number in range(9))


def test_a_merge_and_a_removal_are_one_command_each(command: Command, client: Client) -> None:
    for name, seed in (("half", 1), ("other", 2)):
        client.adapters.create(name, RANDOM_LORA, model="mlp", seed=seed)
    assert command("compose", "whole", "half=0.5", "other@1=0.5", "--base", "mlp").out == "whole@1\n"
    assert command("compose", "whole", "half", "--base", "mlp").code == 1
    assert command("delete", "whole", lines="n\n").code == 1
    assert command("delete", "whole", "--yes").code == 0
    assert command("show", "whole").code == 1
