"""An adapter answers on the weights that it was made for, and on no others."""

import gated
import pytest
import torch
from engines import Running, Start
from sqlalchemy import update

from models_registry.errors import Conflict
from models_registry.storage.database import open_database
from models_registry.storage.tables import VersionRow


def test_a_version_that_was_made_for_other_weights_is_refused_and_the_others_answer(
    start: Start, running: Running
) -> None:
    running.host()
    for name in ("estranged", "own"):
        running.create(name)
    expected = running.output("own")
    running.close()
    database = open_database(f"sqlite:///{running.directory}/registry.db")
    with database.write() as session:
        session.execute(update(VersionRow).where(VersionRow.adapter == "estranged").values(fingerprint="0" * 64))
    database.close()

    again = start()
    assert again.wait_for_model("m").state == "ready"
    with pytest.raises(Conflict, match="estranged@1 was made for other weights"):
        again.answer("estranged")
    with pytest.raises(Conflict, match="estranged@1 was made for other weights"):
        again.engine.adapters.load("m", "estranged")
    assert torch.equal(again.output("own"), expected)
    assert again.engine.adapters.find_version("estranged").fingerprint == "0" * 64


def test_a_model_whose_weights_changed_answers_nothing_until_they_are_back(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gated, "_weights", iter((1, 2, 1)))  # the seeds of its three builds
    running.host("m", "gated:other_weights_each_time")
    running.create("a", {"peft_type": "LORA", "r": 2, "target_modules": ["linear"], "init_lora_weights": False})
    expected = running.answer("a").outputs["y"]

    running.engine.models.unload("m")
    running.engine.models.load("m")
    assert "other weights" in (running.wait_for_model("m").reason or "")
    for adapter in ("a", None):
        with pytest.raises(Conflict, match="other weights"):
            running.answer(adapter)

    running.engine.models.load("m")
    assert running.wait_for_model("m").state == "ready"
    assert torch.equal(torch.as_tensor(running.answer("a").outputs["y"]), torch.as_tensor(expected))


def test_the_same_id_with_other_weights_is_another_model_with_no_adapters(running: Running) -> None:
    running.host("m", "gated:other_weights_each_time")
    running.create("a", {"peft_type": "LORA", "r": 2, "target_modules": ["linear"]})
    first = running.engine.models.find("m").base.fingerprint
    running.engine.models.remove("m", cascade=True)

    again = running.host("m", "gated:other_weights_each_time")
    assert (again.state, again.resident) == ("ready", ())
    assert again.base.fingerprint != first
    assert running.engine.adapter_lists.page(10).items == ()
