"""Embeddings by the unmodified `openai` client: an encoder's own, each text with its adapter."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from apps import settings_in
from numpy.typing import NDArray
from openai import BadRequestError, OpenAI
from sockets import listening
from transformers import BertModel
from word_models import bert_config, save, tiny_llama, word_tokenizer

from service.bootstrap import create_app

LORA = {"peft_type": "LORA", "r": 2, "target_modules": ["query", "value"], "init_lora_weights": False}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    directory = tmp_path_factory.mktemp("embeddings")
    save(BertModel(bert_config()), word_tokenizer(), directory / "models" / "encoder")
    save(tiny_llama(), word_tokenizer(), directory / "models" / "writer")
    with listening(create_app(settings_in(directory))) as address, httpx.Client(base_url=address, timeout=60) as http:
        for model in ("encoder", "writer"):
            body = {"id": model, "source": {"kind": "huggingface", "path": model}}
            http.post("/models?wait=60", json=body).raise_for_status()
        http.post("/models/encoder/adapters", json={"name": "tone", "config": LORA, "seed": 1}).raise_for_status()
        yield http


@pytest.fixture(scope="module")
def client(texts: httpx.Client) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{texts.base_url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def embed(client: OpenAI, model: str, *given: str, **others: Any) -> NDArray[np.float32]:
    answer = client.embeddings.create(model=model, input=list(given), **others)
    assert [one.index for one in answer.data] == list(range(len(given)))
    return np.array([one.embedding for one in answer.data], np.float32)


def ours(http: httpx.Client, adapter: Any, *given: str) -> NDArray[np.float32]:
    answer = http.post("/models/encoder/infer", json={"inputs": {"text": list(given)}, "adapter": adapter}).json()
    written = answer["outputs"]["embedding"]
    return np.array(written["data"], np.float32).reshape(written["shape"])


def test_embeddings_are_the_encoders_own_as_numbers_and_as_bytes(client: OpenAI, texts: httpx.Client) -> None:
    expected = ours(texts, None, "a b", "c")
    as_bytes = embed(client, "encoder", "a b", "c")  # the client asks for base64 unless told otherwise
    assert np.allclose(as_bytes, expected, atol=1e-6)
    assert np.array_equal(as_bytes, embed(client, "encoder", "a b", "c", encoding_format="float"))


def test_an_adapter_is_named_by_model_or_for_each_text(client: OpenAI, texts: httpx.Client) -> None:
    expected = ours(texts, "tone", "a b", "c")
    assert np.allclose(embed(client, "tone", "a b", "c"), expected, atol=1e-6)
    mixed = embed(client, "encoder", "a b", "c", extra_body={"adapter": ["tone", None]})
    assert np.allclose(mixed[0], expected[0], atol=1e-6)
    assert np.allclose(mixed[1], ours(texts, None, "c")[0], atol=1e-6)
    raw = client.embeddings.with_raw_response.create(model="tone", input="a")
    assert raw.headers["x-adapter"] == "tone@1"


def test_token_ids_are_the_models_own(client: OpenAI, texts: httpx.Client) -> None:
    tokenizer = word_tokenizer()
    first, second = tokenizer("a b").input_ids, tokenizer("c").input_ids
    expected = ours(texts, "tone", "a b", "c")
    several = client.embeddings.create(model="tone", input=[first, second])
    assert np.allclose([one.embedding for one in several.data], expected, atol=1e-6)
    assert several.usage.prompt_tokens == len(first) + len(second)
    one = client.embeddings.create(model="tone", input=first)
    assert np.allclose([one.data[0].embedding], expected[:1], atol=1e-6)


def test_usage_counts_the_texts_own_tokens(client: OpenAI) -> None:
    usage = client.embeddings.create(model="encoder", input=["a b c", "d"]).usage
    assert (usage.prompt_tokens, usage.total_tokens) == (4, 4)


def test_fewer_dimensions_have_length_one_again(client: OpenAI) -> None:
    whole, short = embed(client, "encoder", "a b"), embed(client, "encoder", "a b", dimensions=4)
    assert short.shape == (1, 4)
    assert np.allclose(short, whole[:, :4] / np.linalg.norm(whole[:, :4]), atol=1e-6)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [1, 9999]}, "input"),
        ({"input": [[1], [-2]]}, "input"),
        ({"input": [[1], []]}, "input"),
        ({"input": [[1], [9999]]}, "input[1]"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"dimensions": 17}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"model": "writer"}, "model"),
        ({"adapter": ["tone"], "input": ["a", "b"]}, "adapter"),
        ({"model": "tone", "adapter": ["tone"]}, "adapter"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_wrong_is_a_bad_request_that_names_the_field(client: OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.embeddings.create(model=body.pop("model", "encoder"), input=body.pop("input", "a"), extra_body=body)
    assert raised.value.param == param


def test_a_split_alias_sticks_to_its_routing_key(client: OpenAI, texts: httpx.Client) -> None:
    texts.post("/models/encoder/adapters", json={"name": "halves", "config": LORA}).raise_for_status()
    state = texts.get("/adapters/halves/state").content
    sent = {"Content-Type": "application/vnd.safetensors"}
    texts.put("/adapters/halves/state?force=true", content=state, headers=sent).raise_for_status()
    halves = {"versions": {"1": 0.5, "2": 0.5}}
    texts.put("/adapters/halves/aliases/prod", json=halves).raise_for_status()

    def answering(user: int) -> str | None:
        key = {"X-Routing-Key": f"user-{user}"}
        raw = client.embeddings.with_raw_response.create(model="halves@prod", input="one", extra_headers=key)
        return raw.headers.get("X-Adapter")

    first = [answering(user) for user in range(12)]
    assert set(first) == {"halves@1", "halves@2"}
    assert [answering(user) for user in range(12)] == first


def test_a_model_that_writes_is_said_to_give_no_embeddings(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="gives no embeddings: name one with the task feature-ext") as raised:
        embed(client, "writer", "a b")
    assert raised.value.param == "model"
    assert "logits" not in raised.value.message
