"""What was acknowledged is there after `kill -9`, and a start says truthfully how far it is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from e2e.adapters import CONFIGS, ask, create, rows, same_bits, state, trained, upload
from e2e.gate import Gate
from e2e.process import Service
from torch import Tensor

MLP_CONFIG = {"peft_type": "LORA", "r": 2, "target_modules": ["first"], "init_lora_weights": False}


class House:
    """A service with two base models and adapters of every method, one model behind a gate."""

    def __init__(self, service: Service, gate: Gate) -> None:
        self.service = service
        self.gate = gate
        service.start().register("minilm", {"kind": "huggingface", "path": "minilm"})
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
        kept = [{k: v for k, v in m.items() if k not in ("resident", "state")} for m in models]
        return kept, [(a["name"], a["model"], a["digest"], a["version"], a["targets"]) for a in adapters]


@pytest.fixture(scope="module")
def house(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("house")
    service = Service(directory, demo_models)
    yield House(service, Gate(directory / "gate"))
    service.close()


def test_after_a_kill_the_same_models_and_adapters_answer_with_the_same_bits(house: House) -> None:
    known, answers = house.knows(), house.answers()
    house.service.kill()
    house.service.start().wait_until_ready()
    assert house.knows() == known
    assert [same_bits(*pair) for pair in zip(house.answers(), answers, strict=True)] == [True, True, True]
    assert not same_bits(answers[1], answers[2])


def test_a_model_is_called_loading_until_it_answers(house: House) -> None:
    service, http = house.service, house.service.http
    service.kill()
    house.gate.close()
    service.start()
    states = {model["id"]: model["state"] for model in http.get("/models").json()["items"]}
    ready = http.get("/health/ready")
    asked = http.post("/models/gated/infer", json={"inputs": {"x": [[1, 2, 3, 4]]}})
    house.gate.open()
    assert states["gated"] == "loading"
    assert (ready.status_code, "gated" in ready.json()["detail"]) == (503, True)
    assert (asked.status_code, asked.headers["retry-after"].isdecimal()) == (503, True)
    service.wait_until_ready()
    assert {model["state"] for model in http.get("/models").json()["items"]} == {"ready"}


@pytest.mark.parametrize("kind", ["fresh", "uploaded"])
def test_an_adapter_is_there_when_the_kill_follows_its_acknowledgement(house: House, kind: str) -> None:
    twin, http = ("lora-fresh", "lora")[kind == "uploaded"], house.service.http
    weights, before = state(http, twin), ask(http, "minilm", twin, rows(2))
    posts: dict[str, Callable[[], object]] = {
        "fresh": lambda: create(http, "minilm", "last-fresh", CONFIGS["lora"], seed=1),
        "uploaded": lambda: upload(http, "minilm", "last-uploaded", CONFIGS["lora"], weights).raise_for_status(),
    }
    posts[kind]()
    house.service.kill()
    house.service.start().wait_until_ready()
    assert state(http, f"last-{kind}") == weights
    assert same_bits(ask(http, "minilm", f"last-{kind}", rows(2)), before)


def test_a_model_that_was_unloaded_stays_so(house: House) -> None:
    http = house.service.http
    assert http.post("/models/gated/unload").status_code == 200
    house.service.kill()
    house.service.start().wait_until_ready()
    assert http.get("/models/gated").json()["state"] == "unloaded"
    assert http.post("/models/gated/infer", json={"inputs": {"x": [[1, 2, 3, 4]]}}).status_code == 409
