"""What is created while its model leaves memory is stored, as for a model that is not in memory."""

from concurrent.futures import Future

import pytest
from engines import LORA, RANDOM_LORA, Running, lora_weights

from models_registry.errors import Conflict
from models_registry.records import AdapterVersion
from service.front.requests import NewAdapter
from service.protocol.errors import HostLost
from service.protocol.types import FreshWeights, Tensors


def failing(error: Exception) -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(error)
    return future


def test_a_creation_whose_host_dies_is_stored_with_a_warning(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.host()
    host = running.hosting.find("m").host
    lost = HostLost("m", "SIGKILL")
    monkeypatch.setattr(host, "prepare", lambda version: failing(lost))
    monkeypatch.setattr(host, "attach", lambda version: failing(lost))
    created = running.engine.adapters.create(NewAdapter("m", "a", LORA, lora_weights()))
    assert any("SIGKILL" in warning for warning in created.warnings)
    assert running.engine.adapters.find("a").adapter.newest.version == 1


def test_a_creation_whose_model_is_unloaded_beside_it_is_stored(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.host()
    host = running.hosting.find("m").host

    def prepare(version: AdapterVersion) -> Future[None]:
        running.engine.models.unload("m")
        return failing(Conflict("The base model 'm' was unloaded; load it first."))

    monkeypatch.setattr(host, "prepare", prepare)
    running.engine.adapters.create(NewAdapter("m", "a", LORA, lora_weights()))
    assert running.tier("a") == "stored"


def test_initial_weights_are_made_without_a_model_that_is_unloaded_beside_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.host()
    host = running.hosting.find("m").host

    def draw(id: int, fresh: FreshWeights) -> Future[Tensors]:
        running.engine.models.unload("m")
        drawn: Future[Tensors] = Future()
        drawn.set_exception(Conflict("The base model 'm' was unloaded; load it first."))
        return drawn

    monkeypatch.setattr(host, "initial_weights", draw)
    running.create("a", RANDOM_LORA)
    assert running.tier("a") == "stored"


def test_a_host_that_is_there_refuses_what_it_refuses(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.host()
    monkeypatch.setattr(running.hosting.find("m").host, "prepare", lambda version: failing(Conflict("no")))
    with pytest.raises(Conflict, match="no"):
        running.engine.adapters.create(NewAdapter("m", "a", LORA, lora_weights()))
