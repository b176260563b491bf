"""`adapters diff`: what changed between two versions, in their modules and in their answers."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps import RANDOM_LORA
from scripted_texts import Call, Script, scripted

from service.client import CheckpointFiles, Client

from .conftest import Command


@pytest.fixture(scope="module", autouse=True)
def changed(client: Client) -> None:
    client.adapters.create("changed", RANDOM_LORA, model="mlp", seed=3)
    files = CheckpointFiles.of({**RANDOM_LORA, "lora_alpha": 8}, client.adapters.state("changed"))
    client.adapters.push("changed", files, model="mlp")


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted() as script:
        yield script


def test_a_diff_names_what_changed(command: Command) -> None:
    said = command("diff", "changed@1", "changed@2").out
    assert "changed@1 -> changed@2" in said
    assert "lora_alpha: 4 -> 8" in said
    assert command("diff", "changed").out == said
    (first, _) = json.loads(command("diff", "changed", "--format", "json").out)["targets"]
    assert (first["target"], round(first["cosine"], 6)) == ("first", 1)
    assert command("diff", "changed@1").code == 1


def test_prompts_say_which_share_of_answers_changes(command: Command, script: Script, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('"one"\n{"text": "two"}\n\n{"prompt": "three"}\nfour\n')
    script.act = answer
    said = command("diff", "changed", "--prompts", str(prompts)).out
    assert "1 of 4 answers change (25%)." in said
    assert [line.split() for line in said.splitlines()][-1] == ["two", "old", "two", "new", "two"]
    told = json.loads(command("diff", "changed", "--prompts", str(prompts), "--format", "json").out)
    assert (told["prompts"], told["changed"]) == (4, 1)


def test_what_is_no_prompt_is_named_with_its_line(command: Command, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    for text, words in (
        ('"a"\n{"question": "b"}\n', "line 2"),
        ('"a"\n{"messages": [{"role": "user", "content": "b"}]}\n', "two files"),
        ("\n", "no prompts"),
    ):
        prompts.write_text(text)
        ran = command("diff", "changed", "--prompts", str(prompts))
        assert ran.code == 1
        assert words in ran.err


def answer(call: Call) -> None:
    """Only the answer to `two` depends on the version: the second half of the rows is the later one's."""
    texts = call.call.inputs.texts
    assert texts
    half = len(texts) // 2
    call.finish(*(f"{'old' if row < half else 'new'} two" if text == "two" else text for row, text in enumerate(texts)))
