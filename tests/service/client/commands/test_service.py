"""`adapters login`, `models`, `doctor`, and what each failure ends with."""

import csv
import json
import stat
from pathlib import Path

import pytest
from apps import LORA
from ports import hold_port, number_of

from service.client import Client
from service.client.commands.session import config_path

from .conftest import Command


@pytest.fixture(autouse=True)
def hosted(client: Client) -> None:
    """`mlp` is hosted."""


def test_models_are_printed_as_a_table_as_json_and_as_ids(command: Command) -> None:
    table = command("models").out
    assert "MODEL" in table
    assert "mlp" in table
    assert command("models", "--format", "id").out.split() == ["mlp"]
    (model,) = json.loads(command("models", "--format", "json").out)
    assert (model["id"], model["state"]) == ("mlp", "ready")


def test_a_login_is_remembered_and_for_its_address_only(
    command: Command, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("login", address, "--key-stdin", lines="ask_secret\n").code == 0
    place = config_path()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert "ask_secret" in place.read_text()
    monkeypatch.delenv("ADAPTERS_URL")
    assert "key       sent" in command("doctor").out
    assert "key       none" in command("--url", address.replace("127.0.0.1", "localhost"), "doctor").out


def test_a_login_nobody_answers_is_not_remembered(command: Command) -> None:
    held = hold_port()
    ran = command("login", f"http://127.0.0.1:{number_of(held)}", "--key-stdin")
    held.close()
    assert ran.code == 3
    assert not config_path().exists()


def test_the_doctor_names_version_health_and_models(command: Command) -> None:
    said = command("doctor").out
    assert "all is well" in said
    assert "mlp: ready" in said


def test_a_model_and_an_adapter_are_brought_into_memory_and_out_of_it(command: Command, client: Client) -> None:
    client.adapters.create("brought", LORA, model="mlp")
    assert command("unload", "mlp").out == "mlp is unloaded\n"
    assert command("load", "mlp").out == "mlp is ready\n"
    assert command("load", "mlp", "brought", "--pin").out == "brought is resident\n"
    assert client.adapters.get("brought").newest.raw["pinned"] is True
    assert command("unload", "mlp", "brought").out == "brought is stored\n"
    assert command("load", "nobody").code == 1


def test_nobody_answering_is_said_without_a_stack_trace(command: Command) -> None:
    held = hold_port()
    ran = command("--url", f"http://127.0.0.1:{number_of(held)}", "models")
    held.close()
    assert ran.code == 3
    assert "Nothing answers at" in ran.err
    assert "Traceback" not in ran.err


def test_a_broken_config_file_is_named(command: Command) -> None:
    place = config_path()
    place.parent.mkdir(parents=True)
    place.write_text("url = ")
    ran = command("models")
    assert ran.code == 1
    assert str(place) in ran.err


def test_the_version_is_printed(command: Command, tmp_path: Path) -> None:
    ran = command("--version")
    assert ran.code == 0
    assert ran.out.strip()[0].isdigit()


def test_a_login_leaves_the_operators_settings_in_the_file(command: Command, address: str) -> None:
    place = config_path()
    place.parent.mkdir(parents=True)
    place.write_text('url = "http://old"\n\n[service]\nport = 9000\n')
    for _ in range(2):
        assert command("login", address, "--key-stdin", lines="\n").code == 0
    assert place.read_text() == f'url = "{address}"\n\n[service]\nport = 9000\n'


def test_the_sources_of_address_and_key_are_shown_without_the_key(
    command: Command, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"address   {address} (--url or ADAPTERS_URL)" in command("config").out
    command("login", address, "--key-stdin", lines="ask_secret\n")
    monkeypatch.delenv("ADAPTERS_URL")
    said = command("config").out
    assert f"{address} (what login remembers)" in said
    assert "key       from what login remembers" in said
    assert "ask_secret" not in said
    monkeypatch.setenv("ADAPTERS_KEY", "ask_other")
    assert "key       from ADAPTERS_KEY" in command("config").out


def test_usage_is_a_table_json_or_csv(command: Command, client: Client) -> None:
    client.infer("mlp", {"x": [[1.0, 2.0, 3.0, 4.0]]})
    asked = ("usage", "--by", "team,model", "--from", "2020-01-01")
    lines = csv.DictReader(command(*asked, "--format", "csv").out.splitlines())
    (head,) = [line for line in lines if line["model"] == "mlp"]
    assert head["team"] == "default"
    (used,) = [one for one in json.loads(command(*asked, "--format", "json").out) if one["model"] == "mlp"]
    assert int(head["requests"]) == used["requests"] >= 1
    assert "STORED BYTE HOURS" in command(*asked).out
    assert command("usage", "--by", "colour").code == 1
