"""What was acknowledged is there after `kill -9`, and a start says truthfully how far it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from e2e.adapters import CONFIGS, ask, create, rows, same_bits, state, trained, upload
from e2e.gate import Gate
from e2e.process import Service
from torch import Tensor

MLP_CONFIG = {"peft_type": "LORA", "r": 2, "target_modules": ["first"], "init_lora_weights": False}
NUMBERS = {"inputs": {"x": [[1, 2, 3, 4]]}}


class House:
    """A service with two base models and adapters of every method, one model behind a gate."""

    def __init__(self, service: Service, gate: Gate) -> None:
        self.service = service
        self.gate = gate
        service.start_preloaded().register("minilm", {"kind": "huggingface", "path": "minilm"})
        service.register("gated", {"kind": "python", "factory": "e2e.gate:gated", "kwargs": {"gate": str(gate.path)}})
        for name, config in CONFIGS.items():
            create(service.http, "minilm", f"{name}-fresh", config, seed=1)
            weights = trained(state(service.http, f"{name}-fresh"), seed=2)
            assert upload(service.http, "minilm", name, config, weights).status_code == 201
        create(service.http, "gated", "small", MLP_CONFIG, seed=3)

    def answers(self) -> list[dict[str, Tensor]]:
        http, numbers = self.service.http, torch.linspace(-1, 1, 8).reshape(2, 4)
        choices = [None, *CONFIGS, *(f"{name}-fresh" for name in CONFIGS)]
        return [
            ask(http, "minilm", choices, rows(len(choices))),
            *(ask(http, "gated", choice, {"x": numbers}) for choice in (None, "small")),
        ]

    def knows(self) -> Any:
        """Everything that is listed, but for what is only true of this moment."""
        http = self.service.http
        models = http.get("/models").json()["items"]
        adapters = http.get("/adapters").json()["items"]
        kept = [{k: v for k, v in m.items() if k not in ("resident", "state", "progress")} for m in models]
        return kept, [(a["name"], a["model"], a["digest"], a["version"], a["target_modules"]) for a in adapters]


@dataclass(frozen=True, slots=True)
class Start:
    """What was seen between `kill -9` and the first answer, one model being held back."""

    known: tuple[Any, Any]
    answers: tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]
    states: dict[str, str]
    ready: httpx.Response
    asked: httpx.Response


@pytest.fixture(scope="module")
def house(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("house")
    service = Service(directory, demo_models)
    yield House(service, Gate(directory / "gate"))
    service.close()


@pytest.fixture(scope="module")
def started_again(house: House) -> Start:
    service, http = house.service, house.service.http
    known, answers = house.knows(), house.answers()
    service.kill()
    house.gate.close()
    service.start_preloaded()
    states = {model["id"]: model["state"] for model in http.get("/models").json()["items"]}
    ready, asked = http.get("/health/ready"), http.post("/models/gated/infer", json=NUMBERS)
    house.gate.open()
    service.wait_until_ready()
    return Start((known, house.knows()), (answers, house.answers()), states, ready, asked)


@pytest.fixture(scope="module")
def killed_at_once(house: House, started_again: Start) -> Service:
    """`kill -9` right behind three acknowledgements: a model's unloading, a fresh adapter, an uploaded one."""
    service, http = house.service, house.service.http
    http.post("/models/gated/unload").raise_for_status()
    create(http, "minilm", "last-fresh", CONFIGS["adalora"], seed=1)
    upload(http, "minilm", "last-uploaded", CONFIGS["lora"], state(http, "lora")).raise_for_status()
    service.kill()
    return service.start_preloaded().wait_until_ready()


def test_a_model_is_called_loading_until_it_answers(started_again: Start) -> None:
    assert started_again.states["gated"] == "loading"
    assert started_again.ready.status_code == 503
    assert "gated" in started_again.ready.json()["detail"]


def test_a_request_to_a_model_that_loads_is_told_to_come_back(started_again: Start) -> None:
    assert started_again.asked.status_code == 503
    assert started_again.asked.headers["retry-after"].isdecimal()


def test_after_a_kill_the_same_models_and_adapters_are_there(started_again: Start) -> None:
    before, after = started_again.known
    assert before == after


def test_after_a_kill_they_answer_with_the_same_bits(started_again: Start) -> None:
    before, after = started_again.answers
    assert [same_bits(*pair) for pair in zip(before, after, strict=True)] == [True, True, True]
    assert not same_bits(before[1], before[2])


@pytest.mark.parametrize(("last", "twin"), [("last-fresh", "adalora-fresh"), ("last-uploaded", "lora")])
def test_an_adapter_is_there_when_the_kill_follows_its_acknowledgement(
    killed_at_once: Service, last: str, twin: str
) -> None:
    http = killed_at_once.http
    assert state(http, last) == state(http, twin)
    assert same_bits(ask(http, "minilm", last, rows(2)), ask(http, "minilm", twin, rows(2)))


def test_a_model_that_was_unloaded_stays_so(killed_at_once: Service) -> None:
    http = killed_at_once.http
    assert http.get("/models/gated").json()["state"] == "unloaded"
    assert http.post("/models/gated/infer", json=NUMBERS).status_code == 409
