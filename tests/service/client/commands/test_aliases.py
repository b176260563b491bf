"""Rollouts by the command line: an alias is set, its history read, and one step taken back."""

import pytest
from apps import RANDOM_LORA

from service.client import CheckpointFiles, Client

from .conftest import Command


@pytest.fixture(scope="module")
def name(client: Client) -> str:
    """An adapter of two versions."""
    pushed = client.adapters.create("rolled", RANDOM_LORA, model="mlp", seed=1)
    config = {**RANDOM_LORA, "lora_alpha": 3}
    weights = client.adapters.state("rolled")

    client.adapters.push("rolled", CheckpointFiles.of(config, weights), model="mlp")
    return pushed.name


def test_an_alias_is_moved_and_rolled_back(command: Command, client: Client, name: str) -> None:
    assert command("alias", "set", name, "prod", "1").out == f"{name}@prod is {name}@1\n"
    never = command("rollback", name, "prod")
    assert never.code == 1
    assert "nothing to go back to" in never.err
    command("alias", "set", name, "prod", "2", "--reason", "better on dialogues")
    assert command("rollback", name, "prod", "--reason", "worse after all").out == f"{name}@prod is {name}@1\n"
    assert client.adapters.get(name).aliases["prod"] == 1
    history = command("alias", "history", name, "prod").out
    assert history.index("worse after all") < history.index("better on dialogues")
    assert command("alias", "delete", name, "prod").code == 0
    assert "prod" not in client.adapters.get(name).aliases


def test_a_rollback_restores_a_split(command: Command, client: Client, name: str) -> None:
    client.rollouts.split(name, "half", {1: 0.5, 2: 0.5})
    client.adapters.promote(name, 2, alias="half")
    assert command("rollback", name, "half").out == f"{name}@half is {name}@(1: 0.5, 2: 0.5)\n"
    rollouts = client.adapters.get(name).raw["rollouts"]
    assert rollouts["half"]["versions"] == {"1": 0.5, "2": 0.5}
    assert "1: 0.5, 2: 0.5" in command("alias", "history", name, "half").out


def test_an_alias_is_split_and_shown_with_what_its_versions_did(command: Command, client: Client, name: str) -> None:
    said = command("alias", "split", name, "canary", "1=0.75", "2=0.25", "--reason", "a try").out
    assert said == f"{name}@canary is {name}@(1: 0.75, 2: 0.25)\n"
    client.infer("mlp", {"x": [[1.0, 2.0, 3.0, 4.0]]}, adapter=f"{name}@canary")
    lines = command("alias", "show", name, "canary").out.splitlines()
    assert lines[0].split()[:3] == ["VERSION", "SHARE", "REQUESTS"]
    assert [line.split()[:2] for line in lines[1:]] == [["1", "0.75"], ["2", "0.25"]]
    assert "SHADOW" not in "".join(lines)
    assert command("alias", "split", name, "canary", "1=1", "--shadow", "2").out.endswith("(1: 1, shadow 2)\n")
    assert command("alias", "split", name, "canary", "half").code == 1
    refused = command("alias", "split", name, "canary", "1=0.5")
    assert refused.code == 1
    assert "add up to" in refused.err
