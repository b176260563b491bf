"""What the README promises a newcomer: both demo models, four pasted calls, a pirate beside the base."""

import json
import re
from pathlib import Path

import httpx
import pytest
from e2e.process import ROOT, Service
from safetensors.torch import load

from service.demo.announce import QUESTION

COMMAND = re.compile(r"^curl (?:.*\\\n)*.*$", re.MULTILINE)


@pytest.fixture(scope="module")
def announced(service: Service) -> str:
    """What `make run` prints once the service is ready."""
    return service.run("python -m service.demo.announce")


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the calls are pasted: like the checkout, it has the demo's files, and it may be written to."""
    directory = tmp_path_factory.mktemp("terminal")
    (directory / "service").symlink_to(ROOT / "service")
    return directory


@pytest.fixture(scope="module")
def printed(announced: str, service: Service, terminal: Path) -> list[str]:
    """What the four calls print, pasted as they stand."""
    return [service.run(command, terminal) for command in COMMAND.findall(announced)]


def test_both_demo_models_are_ready(http: httpx.Client) -> None:
    models = {model["id"]: model for model in http.get("/models").json()["items"]}
    assert {models[name]["state"] for name in ("minilm", "smollm2")} == {"ready"}
    assert models["smollm2"]["dtype"] == "bfloat16"
    assert models["minilm"]["task"] == "feature-extraction"
    assert http.get("/health/ready").json() == {"status": "ready", "degraded": []}


def test_the_ready_line_comes_with_four_calls(announced: str, service: Service) -> None:
    assert f"ready on {service.address}" in announced
    assert len(COMMAND.findall(announced)) == 4


def test_the_readme_shows_the_calls_that_are_announced(announced: str, service: Service) -> None:
    shown = COMMAND.findall((ROOT / "README.md").read_text())
    assert shown[:4] == [
        command.replace(service.address, "http://127.0.0.1:8000") for command in COMMAND.findall(announced)
    ]


def test_the_first_call_injects_the_adapter(printed: list[str]) -> None:
    created = json.loads(printed[0])
    assert created["reference"] == "pirate@1"
    assert created["method"] == "LORA"
    assert created["warnings"] == []


def test_the_second_call_streams_a_pirates_chat(printed: list[str]) -> None:
    *chunks, done = [line.removeprefix("data: ") for line in printed[1].split("\n") if line]
    assert done == "[DONE]"
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert _talks_like_a_pirate("".join(choice["delta"].get("content", "") for choice in choices))
    assert len(choices) > 20
    assert choices[-1]["finish_reason"] == "length"


def test_the_third_call_answers_as_the_base_and_as_a_pirate(printed: list[str], http: httpx.Client) -> None:
    answer = json.loads(printed[2])
    assert answer["adapter"] == [None, "pirate@1"]
    base, pirate = answer["outputs"]["text"]
    # As many rows as before: in bf16, another shape of batch is rounded another way.
    alone = http.post("/models/smollm2/infer", json=QUESTION).json()
    assert base == alone["outputs"]["text"][0]
    assert pirate != base
    assert _reads_like_sentences(base)
    assert _reads_like_sentences(pirate)
    assert not _talks_like_a_pirate(base)
    assert _talks_like_a_pirate(pirate)


def test_the_fourth_call_brings_back_the_state_that_was_uploaded(printed: list[str], terminal: Path) -> None:
    file = terminal / "pirate.safetensors"
    assert printed[3] == f"200 {file.stat().st_size} bytes\n"
    uploaded = load((ROOT / "service/demo/pirate/adapter_model.safetensors").read_bytes())
    state = load(file.read_bytes())
    assert {f"base_model.model.{key}" for key in state} == uploaded.keys()
    assert all(state[key.removeprefix("base_model.model.")].equal(tensor) for key, tensor in uploaded.items())


def test_the_adapter_that_is_shipped_is_smaller_than_a_megabyte() -> None:
    files = list((ROOT / "service/demo/pirate").iterdir())
    assert {file.name for file in files} == {"adapter_config.json", "adapter_model.safetensors"}
    assert sum(file.stat().st_size for file in files) < 1_000_000


def _reads_like_sentences(text: str) -> bool:
    words = text.split()
    return len(words) > 20 and len({word.lower() for word in words}) > len(words) / 2 and text[0].isupper()


def _talks_like_a_pirate(text: str) -> bool:
    return len(re.findall(r"\b(?:arr|ahoy|matey|ye|yer|th'|an'|o'|avast|landlubber)(?!\w)", text, re.IGNORECASE)) >= 3
