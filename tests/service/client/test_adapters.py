"""Adapters by the client: from PEFT's directory into the service, on to an alias, and back into PEFT."""

from pathlib import Path

import numpy as np
import pytest
from apps import LORA
from bases import mlp
from peft import PeftModel
from trained_adapters import ROWS, of_peft, trained

from service.client import CheckpointFiles, Client, Conflict, Invalid, NotFound, Stale


def test_a_directory_of_pefts_answers_as_it_does_there(client: Client, tmp_path: Path) -> None:
    model = trained(tmp_path, 1)
    pushed = client.adapters.push("pushed", tmp_path, model="mlp", metadata={"run": 7})
    assert (pushed.name, pushed.model, pushed.version.reference) == ("pushed", "mlp", "pushed@1")
    answer = client.infer("mlp", {"x": ROWS}, adapter="pushed")
    assert answer.adapter == ("pushed@1", "pushed@1")
    np.testing.assert_allclose(answer.outputs["output"], of_peft(model), rtol=1e-5, atol=1e-5)
    assert client.adapters.get("pushed").newest.metadata == {"run": 7}


def test_other_weights_of_the_same_config_are_the_next_version(client: Client, tmp_path: Path) -> None:
    for number in (1, 2):
        trained(tmp_path / str(number), number)
        pushed = client.adapters.push("again", tmp_path / str(number), model="mlp")
        assert pushed.version.version == number


def test_another_config_is_the_next_version_too(client: Client, tmp_path: Path) -> None:
    trained(tmp_path, 1)
    client.adapters.push("wider", tmp_path, model="mlp")
    files = CheckpointFiles.of(
        {"peft_type": "LORA", "r": 1, "target_modules": ["first"]},
        {"first.lora_A.weight": np.ones((1, 4), "f4"), "first.lora_B.weight": np.ones((8, 1), "f4")},
    )
    assert client.adapters.push("wider", files, model="mlp").version.version == 2
    assert client.adapters.config("wider")["r"] == 1
    assert client.adapters.config("wider@1")["r"] == 2


def test_what_is_pulled_is_loaded_by_peft(client: Client, tmp_path: Path) -> None:
    model = trained(tmp_path / "pushed", 3)
    client.adapters.push("pulled", tmp_path / "pushed", model="mlp")
    directory = client.adapters.pull("pulled", tmp_path / "pulled")
    again = PeftModel.from_pretrained(mlp(), str(directory)).eval()
    np.testing.assert_array_equal(of_peft(again), of_peft(model))


def test_an_alias_answers_with_the_version_it_was_promoted_to(client: Client, tmp_path: Path) -> None:
    for number in (1, 2):
        trained(tmp_path / str(number), number)
        client.adapters.push("promoted", tmp_path / str(number), model="mlp")
    client.adapters.promote("promoted", 1, alias="prod")
    assert client.infer("mlp", {"x": ROWS}, adapter="promoted@prod").adapter[0] == "promoted@1"
    state = client.adapters.state("promoted@prod")
    assert sorted(state) == [f"{layer}.lora_{part}.weight" for layer in ("first", "second") for part in "AB"]
    client.adapters.delete_alias("promoted", "prod")
    assert client.adapters.get("promoted").aliases == {}


def test_a_list_goes_over_all_pages(client: Client) -> None:
    names = [f"page-{number:03}" for number in range(120)]
    for name in names:
        client.adapters.create(name, LORA, model="mlp", seed=1)
    assert [adapter.name for adapter in client.adapters.list() if adapter.name.startswith("page-")] == names
    assert {adapter.model for adapter in client.adapters.list(model="mlp")} == {"mlp"}


def test_a_check_stores_nothing(client: Client, tmp_path: Path) -> None:
    trained(tmp_path, 1)
    assert client.adapters.check("checked", tmp_path, model="mlp").version.parameters == 46
    with pytest.raises(NotFound):
        client.adapters.get("checked")


def test_a_check_says_what_a_push_over_an_adapter_would_do(client: Client, tmp_path: Path) -> None:
    for number in (1, 2):
        trained(tmp_path / str(number), number)
    client.adapters.push("known", tmp_path / "1", model="mlp")
    assert client.adapters.check("known", tmp_path / "1", model="mlp").unchanged
    would_be = client.adapters.check("known", tmp_path / "2", model="mlp")
    assert (would_be.version.reference, would_be.unchanged) == ("known@2", False)
    config = tmp_path / "2" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": ', '"lora_alpha": 1'))
    assert client.adapters.check("known", tmp_path / "2", model="mlp").version.reference == "known@2"
    assert len(client.adapters.get("known").versions) == 1


def test_a_composition_is_an_adapter_of_its_own(client: Client) -> None:
    for name in ("one", "two"):
        client.adapters.create(f"composed-{name}", {**LORA, "init_lora_weights": False}, model="mlp", seed=1)
    adapters = {"composed-one": 0.5, "composed-two": 0.5}
    client.adapters.compose("composed", adapters, model="mlp", method="cat")
    stored = client.infer("mlp", {"x": ROWS}, adapter="composed").outputs["output"]
    np.testing.assert_allclose(stored, client.infer("mlp", {"x": ROWS}, adapter=adapters).outputs["output"], atol=1e-5)


def test_an_adapter_is_loaded_unloaded_and_removed(client: Client) -> None:
    client.adapters.create("removed", LORA, model="mlp")
    assert client.adapters.load("removed", model="mlp").raw["residency"] == "resident"
    assert client.adapters.unload("removed", model="mlp").raw["residency"] == "stored"
    client.adapters.delete("removed", drain=True)
    with pytest.raises(NotFound):
        client.adapters.get("removed")


def test_invalid_lists_everything_that_is_wrong(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        client.adapters.create("wrong", {**LORA, "target_modules": ["first", "third", "fourth"]}, model="mlp")
    assert "third" in str(caught.value)
    assert "fourth" in str(caught.value)
    assert caught.value.type == "invalid"
    assert caught.value.request_id


def test_a_taken_name_is_a_conflict(client: Client) -> None:
    client.adapters.create("taken", LORA, model="mlp")
    with pytest.raises(Conflict):
        client.adapters.create("taken", LORA, model="mlp")
    assert not issubclass(Stale, Conflict)


def test_a_directory_without_weights_says_what_is_missing(tmp_path: Path, client: Client) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"has no adapter_model\.safetensors"):
        client.adapters.push("nothing", tmp_path, model="mlp")
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="a pickle, which is never uploaded"):
        client.adapters.push("nothing", tmp_path, model="mlp")
