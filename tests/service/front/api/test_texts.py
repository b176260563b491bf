"""Texts and chats over HTTP: what a model makes of them, with and without its chat template, and which outputs come."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from apps import expect, expect_problem, places, settings_in
from safetensors.torch import load
from starlette.testclient import TestClient
from transformers import BertForSequenceClassification, BertModel
from word_models import bert_config, save, tiny_llama, word_tokenizer

from service.bootstrap import create_app

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "{{ m.role }}: {{ m.content }} {% endfor %}{% if add_generation_prompt %}bot:{% endif %}"
)
BROKEN = "{{ messages[0].content + 1 }}"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One app with a model of each task, for all the tests of this file."""
    directory = tmp_path_factory.mktemp("texts")
    models = directory / "models"
    for name, template in (("plain", None), ("chat", TEMPLATE), ("broken", BROKEN)):
        save(tiny_llama(), word_tokenizer(), models / name)
        if template:
            (models / name / "chat_template.jinja").write_text(template)
    save(BertModel(bert_config()), word_tokenizer(), models / "encoder")
    save(BertForSequenceClassification(bert_config()), word_tokenizer(), models / "classifier")
    with TestClient(create_app(settings_in(directory))) as client:
        for name in ("plain", "chat", "broken", "encoder", "classifier"):
            source = {"kind": "huggingface", "path": name}
            expect(client.post("/models", params={"wait": 60}, json={"id": name, "source": source}), 201)
        source = {"kind": "python", "factory": "bases:mlp"}
        expect(client.post("/models", params={"wait": 60}, json={"id": "mlp", "source": source}), 201)
        yield client


def ask(client: TestClient, model: str, inputs: Any, headers: dict[str, str] | None = None, **others: Any) -> Any:
    return client.post(f"/models/{model}/infer", json={"inputs": inputs, **others}, headers=headers)


def written(client: TestClient, model: str, inputs: Any, **others: Any) -> Any:
    others.setdefault("parameters", {"max_new_tokens": 6})
    return expect(ask(client, model, inputs, **others), 200)["outputs"]["text"]


def tensor(outputs: Any, name: str) -> torch.Tensor:
    return torch.tensor(outputs[name]["data"]).reshape(outputs[name]["shape"])


def test_with_parameters_a_text_is_a_turn_of_a_chat_unless_chat_says_otherwise(texts: TestClient) -> None:
    as_turn, raw = written(texts, "plain", {"text": ["user: a b bot:"]}), written(texts, "plain", {"text": ["a b"]})
    assert as_turn != raw
    assert written(texts, "chat", {"text": ["a b"]}) == as_turn
    assert written(texts, "chat", {"text": ["a b"]}, chat=True) == as_turn
    assert written(texts, "chat", {"text": ["a b"]}, chat=False) == raw


def test_without_parameters_a_text_is_taken_as_it_stands_unless_chat_says_otherwise(texts: TestClient) -> None:
    def logits(model: str, text: str, **others: Any) -> torch.Tensor:
        answer = expect(ask(texts, model, {"text": [text]}, outputs=["logits"], **others), 200)
        return tensor(answer["outputs"], "logits")

    assert torch.equal(logits("chat", "a b"), logits("plain", "a b"))
    assert torch.equal(logits("chat", "a b", chat=True), logits("plain", "user: a b bot:"))


def test_messages_are_chats_of_which_each_is_a_row(texts: TestClient) -> None:
    chats = [
        [{"role": "user", "content": "a b"}],
        [
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": [{"type": "text", "text": "d "}, {"type": "text", "text": "e"}]},
            {"role": "user", "content": "f"},
        ],
    ]
    prompts = ["user: a b bot:", "user: c assistant: d e user: f bot:"]
    assert written(texts, "chat", {"messages": chats}) == written(texts, "plain", {"text": prompts})


@pytest.mark.parametrize(
    ("model", "body", "wrong"),
    [
        ("chat", {"inputs": {"messages": [{"role": "user", "content": "a"}]}}, "inputs.messages"),
        ("chat", {"inputs": {"messages": "a"}}, "inputs.messages"),
        ("chat", {"inputs": {"messages": [[]]}}, "inputs.messages.0"),
        ("chat", {"inputs": {"messages": [["a"]]}}, "inputs.messages.0.0"),
        ("chat", {"inputs": {"messages": [[{"role": "king", "content": "a"}]]}}, "inputs.messages.0.0.role"),
        ("chat", {"inputs": {"messages": [[{"role": "user"}]]}}, "inputs.messages.0.0.content"),
        ("chat", {"inputs": {"messages": [[{"role": "tool", "content": "a"}]]}}, "inputs.messages.0"),
        ("chat", {"inputs": {"messages": [[{"role": "user", "content": "a"}]], "text": ["a"]}}, "inputs.messages"),
        ("chat", {"inputs": {"messages": [[{"role": "user", "content": "a"}]]}, "chat": False}, "chat"),
        ("plain", {"inputs": {"messages": [[{"role": "user", "content": "a"}]]}}, "inputs.messages"),
        ("plain", {"inputs": {"text": ["a"]}, "chat": True}, "chat"),
        ("chat", {"inputs": {"input_ids": [[3]]}, "chat": True}, "chat"),
        ("broken", {"inputs": {"text": ["a"]}, "parameters": {}}, "inputs.text.0"),
        ("mlp", {"inputs": {"messages": [[{"role": "user", "content": "a"}]]}}, "inputs.messages"),
        ("mlp", {"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}, "parameters": {}}, "parameters"),
        ("encoder", {"inputs": {"text": ["a"]}, "parameters": {}}, "parameters"),
        ("plain", {"inputs": {"input_ids": [[3]]}, "parameters": {}}, "inputs.text"),
        ("plain", {"inputs": {"text": ["a"]}, "parameters": {}, "outputs": ["logits"]}, "outputs.logits"),
        ("plain", {"inputs": {"text": ["a"]}, "messages": []}, "messages"),
        ("plain", {"inputs": {"text": ["a"]}, "max_tokens": 3}, "max_tokens"),
        ("plain", {"inputs": {"text": ["a"]}, "parameters": {"max_tokenz": 3}}, "parameters.max_tokenz"),
    ],
)
def test_what_no_text_can_be_made_of_is_refused_at_its_place(
    texts: TestClient, model: str, body: dict[str, Any], wrong: str
) -> None:
    assert places(expect_problem(texts.post(f"/models/{model}/infer", json=body), 422, "invalid")) == [wrong]


def test_what_stands_one_level_too_high_is_told_its_place(texts: TestClient) -> None:
    body = {"inputs": {"text": ["a"]}, "messages": [], "stop": "x"}
    problem = expect_problem(texts.post("/models/plain/infer", json=body), 422, "invalid")
    assert "belongs into inputs" in problem["errors"][0]["message"]
    assert "belongs into parameters" in problem["errors"][1]["message"]


def test_stop_and_max_tokens_are_what_openai_means(texts: TestClient) -> None:
    (whole,) = written(texts, "plain", {"text": ["a b"]})
    word = whole.split()[2]
    stopped = written(texts, "plain", {"text": ["a b"]}, parameters={"max_tokens": 6, "stop": word})
    assert stopped == [whole[: whole.index(word)]]


def test_a_text_gets_what_its_models_task_is_about_and_the_rest_by_name(texts: TestClient) -> None:
    names = {"encoder": {"embedding"}, "classifier": {"label", "score", "logits"}, "plain": {"next_token", "score"}}
    for model, expected in names.items():
        assert set(expect(ask(texts, model, {"text": ["a b"]}), 200)["outputs"]) == expected
    hidden = expect(ask(texts, "encoder", {"text": ["a b"]}, outputs=["last_hidden_state", "embedding"]), 200)
    mean = tensor(hidden["outputs"], "last_hidden_state").mean(1)
    torch.testing.assert_close(tensor(hidden["outputs"], "embedding"), mean, atol=1e-6, rtol=0)


def test_the_next_token_is_the_likeliest_after_each_rows_own_last_one(texts: TestClient) -> None:
    rows = ["a b c d", "e"]
    outputs = expect(ask(texts, "plain", {"text": rows}), 200)["outputs"]
    for row, text in enumerate(rows):
        alone = expect(ask(texts, "plain", {"text": [text]}, outputs=["logits"]), 200)["outputs"]
        best = tensor(alone, "logits")[0, -1].softmax(-1).max(-1)
        assert outputs["next_token"][row] == word_tokenizer().decode([int(best.indices)])
        assert outputs["score"]["data"][row] == pytest.approx(float(best.values), rel=1e-4)


def test_tensors_get_all_that_the_model_gives_as_before(texts: TestClient) -> None:
    ids = {"input_ids": [[3, 4]], "attention_mask": [[1, 1]]}
    assert set(expect(ask(texts, "encoder", ids), 200)["outputs"]) == {"last_hidden_state", "pooler_output"}
    assert set(expect(ask(texts, "plain", ids), 200)["outputs"]) == {"logits"}


def test_binary_answers_have_the_same_outputs(texts: TestClient) -> None:
    accept = {"Accept": "application/vnd.safetensors"}
    response = ask(texts, "encoder", {"text": ["a b", "c"]}, accept)
    assert set(load(response.content)) == {"embedding"}
    size = int.from_bytes(response.content[:8], "little")
    answer = json.loads(json.loads(response.content[8 : 8 + size])["__metadata__"]["answer"])
    assert answer["outputs"] == {}
    assert set(load(ask(texts, "plain", {"text": ["a b"]}, accept).content)) == {"score"}


def test_an_unknown_output_is_refused_with_those_that_there_are(texts: TestClient) -> None:
    problem = expect_problem(ask(texts, "encoder", {"text": ["a"]}, outputs=["embeddings"]), 422, "invalid")
    assert "last_hidden_state, pooler_output, embedding" in problem["errors"][0]["message"]
