"""A pickle becomes safetensors here, and only where it holds nothing but tensors."""

import json
import pickle
import sys
from pathlib import Path

import pytest
import torch
from apps import LORA
from breaking import breaking_way
from safetensors.torch import load_file

from service.client import CheckpointFiles, Client
from service.client.conversion import convert

from .conftest import Command

WEIGHTS = {
    "base_model.model.first.lora_A.weight": torch.ones(2, 4),
    "base_model.model.first.lora_B.weight": torch.full((8, 2), 0.5, dtype=torch.bfloat16),
}


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """As older versions of PEFT saved it."""
    directory = tmp_path / "old"
    directory.mkdir()
    (directory / "adapter_config.json").write_text(json.dumps({**LORA, "target_modules": ["first"]}))
    torch.save(WEIGHTS, directory / "adapter_model.bin")
    return directory


def test_a_pickle_is_refused_converted_and_then_pushed(command: Command, client: Client, pickled: Path) -> None:
    refused = command("push", str(pickled), "old", "--base", "mlp", "--yes")
    assert refused.code == 1
    assert f"adapters convert {pickled}" in refused.err
    assert command("convert", str(pickled)).out == f"{pickled}/adapter_model.safetensors\n"
    (pickled / "adapter_model.safetensors").unlink()
    told: list[tuple[int, int]] = []
    size = convert(pickled, lambda *step: told.append(step)).stat().st_size
    assert told == [(size, size)]
    written = load_file(pickled / "adapter_model.safetensors")
    assert written.keys() == WEIGHTS.keys()
    assert all(
        torch.equal(written[name], tensor) and written[name].dtype == tensor.dtype for name, tensor in WEIGHTS.items()
    )
    pushed = command("push", str(pickled), "old", "--base", "mlp", "--yes", "--reason", "from the archive")
    assert pushed.out == "old@1\n"
    assert "from the archive" in command("log", "old").out
    assert "is there already" in command("convert", str(pickled)).err


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("it was run",)


@pytest.mark.parametrize("held", [{"a": Evil()}, {"a": 1}, [torch.ones(1)]], ids=["code", "a number", "a list"])
def test_what_holds_more_than_tensors_is_refused_and_not_run(command: Command, pickled: Path, held: object) -> None:
    torch.save(held, pickled / "adapter_model.bin")
    ran = command("convert", str(pickled))
    assert ran.code == 1
    assert "it was run" not in ran.out
    assert "adapter_model.bin" in ran.err
    assert "Traceback" not in ran.err
    assert not (pickled / "adapter_model.safetensors").exists()


def test_a_damaged_pickle_is_refused(command: Command, pickled: Path) -> None:
    for damaged in (b"", b"no pickle", pickle.dumps({"a": 1})[:-2]):
        (pickled / "adapter_model.bin").write_bytes(damaged)
        ran = command("convert", str(pickled))
        assert (ran.code, "is refused" in ran.err) == (1, True), ran.err


def test_without_torch_the_way_is_named(command: Command, pickled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    ran = command("convert", str(pickled))
    assert ran.code == 1
    assert "pip install torch" in ran.err
    assert "has no adapter_model.bin" in command("convert", str(pickled.parent)).err


def test_a_push_that_breaks_off_says_that_nothing_was_stored_and_may_be_repeated(
    command: Command, client: Client, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {"first.lora_A.weight": torch.ones(400_000, 4), "first.lora_B.weight": torch.ones(8, 400_000)}
    directory = CheckpointFiles.of({**LORA, "target_modules": ["first"], "r": 400_000}, weights).save(tmp_path / "wide")
    with breaking_way(address) as way:
        monkeypatch.setenv("ADAPTERS_URL", way.address)
        way.after = 1_000_000
        broken = command("push", str(directory), "cut-here", "--base", "mlp", "--yes")
        assert (broken.code, broken.out) == (3, "")
        assert "nothing was stored" in broken.err
        way.after = None
        assert command("push", str(directory), "cut-here", "--base", "mlp", "--yes").out == "cut-here@1\n"
