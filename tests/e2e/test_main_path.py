"""What the README promises a newcomer: both demo models, its pasted calls in their order, a pirate beside the base."""

import json
import re
from pathlib import Path

import httpx
from e2e.documents import README, blocks_of, shown_keys
from e2e.process import ROOT, Service
from safetensors.torch import load

PROMPT = "Tell me about the sea."


def test_both_demo_models_are_ready(http: httpx.Client) -> None:
    models = {model["id"]: model for model in http.get("/models").json()["items"]}
    assert {models[name]["state"] for name in ("minilm", "smollm2")} == {"ready"}
    assert models["smollm2"]["dtype"] == "bfloat16"
    assert models["minilm"]["task"] == "feature-extraction"
    assert http.get("/health/ready").json() == {"status": "ready", "degraded": []}


def test_the_readme_has_three_calls_and_a_snippet() -> None:
    assert [block.language for block in blocks_of(README) if block.runs] == ["sh", "sh", "sh", "python"]


def test_the_answers_that_the_readme_shows_have_what_is_answered(printed: list[str]) -> None:
    shown = [shown_keys(block.text) for block in blocks_of(README) if block.language == "json"]
    assert [keys - shown_keys(answer) for keys, answer in zip(shown, printed, strict=False)] == [set(), set()]


def test_what_make_run_says_first_works_as_it_stands(service: Service, terminal: Path, printed: list[str]) -> None:
    announced = service.run("python -m service.demo.announce", terminal)
    assert f"ready on {service.address}\n" in announced
    assert str(terminal.resolve() / "var") in announced
    commands = "\n".join(line for line in announced.splitlines() if re.match(" +(export|.venv/bin/)", line))
    said = service.run(f"{commands} <<< 'Tell me about the sea.'", terminal)
    assert "pirate@1" in said
    assert _talks_like_a_pirate(said)


def test_the_first_call_injects_the_adapter(printed: list[str]) -> None:
    created = json.loads(printed[0])
    assert created["reference"] == "pirate@1"
    assert created["method"] == "LORA"
    assert created["warnings"] == []


def test_the_second_call_answers_as_the_base_and_as_a_pirate(printed: list[str], http: httpx.Client) -> None:
    answer = json.loads(printed[1])
    assert answer["adapter"] == [None, "pirate@1"]
    base, pirate = answer["outputs"]["text"]
    # As many rows as before: in bf16, another shape of batch is rounded another way.
    parameters = {"max_new_tokens": 48, "repetition_penalty": 1.1}
    asked = {"inputs": {"text": [PROMPT, PROMPT]}, "parameters": parameters}
    alone = http.post("/models/smollm2/infer", json=asked).json()
    assert base == alone["outputs"]["text"][0]
    assert pirate != base
    assert _reads_like_sentences(base)
    assert _reads_like_sentences(pirate)
    assert not _talks_like_a_pirate(base)
    assert _talks_like_a_pirate(pirate)


def test_the_third_call_brings_back_the_state_that_was_uploaded(printed: list[str], terminal: Path) -> None:
    file = terminal / "pirate.safetensors"
    assert printed[2] == f"200 {file.stat().st_size} bytes\n"
    uploaded = load((ROOT / "service/demo/pirate/adapter_model.safetensors").read_bytes())
    state = load(file.read_bytes())
    assert {f"base_model.model.{key}" for key in state} == uploaded.keys()
    assert all(state[key.removeprefix("base_model.model.")].equal(tensor) for key, tensor in uploaded.items())


def test_openais_client_streams_a_pirates_words(printed: list[str]) -> None:
    assert _talks_like_a_pirate(printed[3])


def test_the_adapter_that_is_shipped_is_smaller_than_a_megabyte() -> None:
    files = list((ROOT / "service/demo/pirate").iterdir())
    assert {file.name for file in files} == {"adapter_config.json", "adapter_model.safetensors"}
    assert sum(file.stat().st_size for file in files) < 1_000_000


def _reads_like_sentences(text: str) -> bool:
    words = text.split()
    return len(words) > 20 and len({word.lower() for word in words}) > len(words) / 2 and text[0].isupper()


def _talks_like_a_pirate(text: str) -> bool:
    return len(re.findall(r"\b(?:arr|ahoy|matey|ye|yer|th'|an'|o'|avast|landlubber)(?!\w)", text, re.IGNORECASE)) >= 3
