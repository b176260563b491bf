"""The unmodified `openai` client against the real service: a pirate, a base model and an encoder over one address."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from e2e.adapters import create, upload
from e2e.process import ROOT, Service
from openai import BadRequestError, OpenAI
from openai.types.chat import ChatCompletionMessageParam

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me about the sea."}]
LORA = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
OTHERS = 14
PIRATE = ROOT / "service" / "demo" / "pirate"


@pytest.fixture(scope="module")
def client(service: Service, http: httpx.Client) -> Iterator[OpenAI]:
    config, weights = PIRATE / "adapter_config.json", PIRATE / "adapter_model.safetensors"
    uploaded = upload(http, "smollm2", "openai-pirate", json.loads(config.read_text()), weights.read_bytes())
    assert uploaded.status_code == 201, uploaded.text
    for number in range(OTHERS):
        create(http, "smollm2", f"openai-{number}", LORA, seed=number)
    with OpenAI(base_url=f"{service.address}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def chat(client: OpenAI, model: str, **others: Any) -> str:
    asked: dict[str, Any] = {"model": model, "messages": QUESTION, "max_tokens": 24, **others}
    return client.chat.completions.create(**asked).choices[0].message.content or ""


def streamed(client: OpenAI, model: str, **others: Any) -> str:
    asked: dict[str, Any] = {"model": model, "messages": QUESTION, "max_tokens": 24, **others}
    with client.chat.completions.create(**asked, stream=True) as chunks:
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_a_streamed_chat_is_the_whole_one_and_the_adapter_acts(client: OpenAI) -> None:
    pirate = chat(client, "openai-pirate")
    assert streamed(client, "openai-pirate") == pirate
    assert pirate != chat(client, "smollm2")


def test_adapters_that_stream_at_once_write_what_they_write_alone(client: OpenAI) -> None:
    models = ["openai-pirate", "smollm2", *(f"openai-{number}" for number in range(OTHERS))]
    with ThreadPoolExecutor(len(models)) as pool:
        together = list(pool.map(lambda model: streamed(client, model, max_tokens=12), models))
    assert together == [streamed(client, model, max_tokens=12) for model in models]
    assert len(set(together)) > len(models) // 2


def test_tokens_are_counted_and_texts_end_for_a_reason(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "openai-pirate", "messages": QUESTION}
    cut = client.chat.completions.create(**asked, max_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert (cut.usage.completion_tokens, cut.usage.prompt_tokens > 10) == (5, True)
    word = (cut.choices[0].message.content or "").split()[1]
    stopped = client.chat.completions.create(**asked, max_tokens=5, stop=word)
    assert stopped.choices[0].finish_reason == "stop"
    assert word not in (stopped.choices[0].message.content or "")


def test_a_seed_draws_the_same_text_again(client: OpenAI) -> None:
    first, again, other = (chat(client, "smollm2", temperature=1.0, seed=seed) for seed in (7, 7, 8))
    assert first == again != other


def test_probabilities_are_those_of_the_text(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "smollm2", "messages": QUESTION, "max_tokens": 6, "logprobs": True}
    choice = client.chat.completions.create(**asked, top_logprobs=2).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    for token in choice.logprobs.content:
        assert token.logprob <= 0
        assert token.top_logprobs[0].token == token.token
        assert len(token.top_logprobs) == 2


def test_a_schema_is_held_to(client: OpenAI) -> None:
    schema = {"type": "object", "properties": {"deep": {"type": "boolean"}}, "required": ["deep"]}
    form = {"type": "json_schema", "json_schema": {"name": "sea", "schema": {**schema, "additionalProperties": False}}}
    assert json.loads(chat(client, "smollm2", response_format=form)) in ({"deep": True}, {"deep": False})


def test_a_text_is_continued_as_it_stands(client: OpenAI) -> None:
    answer = client.completions.create(model="smollm2", prompt=["Once upon a", "The sea is"], max_tokens=4)
    assert answer.choices[0].text.startswith(" time")


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"messages": [{"role": "user", "content": "sea " * 9000}]}, "messages", "8192"),
        ({"max_tokens": 0}, "max_tokens", "1"),
        ({"max_tokens": 5000}, "max_tokens", "4096"),
        ({"temperature": -1}, "temperature", "0"),
        ({"temperature": 1, "top_p": 2}, "top_p", "1"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
        ({"stop": ["x"] * 17}, "stop", "16"),
        ({"logit_bias": {"60000": 1}}, "logit_bias[60000]", "49152"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "template"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "sea"}}}},
            "response_format",
            "sea",
        ),
    ],
)
def test_what_cant_be_written_is_refused_with_the_bound(
    client: OpenAI, body: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(BadRequestError) as raised:
        chat(client, "smollm2", **body)
    assert (raised.value.param or "").startswith(param)
    assert words in raised.value.message


def test_an_encoder_embeds(client: OpenAI) -> None:
    answer = client.embeddings.create(model="minilm", input=["The sea is salty.", "Bread!"])
    assert [len(one.embedding) for one in answer.data] == [384, 384]
    assert answer.usage.prompt_tokens > 6


def test_the_guides_client_chats_and_embeds(
    service: Service, client: OpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs" / "guides" / "openai.md").read_text()
    code, *_ = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    here = code.replace("http://127.0.0.1:8000", service.address).replace('"pirate"', '"openai-pirate"')
    names: dict[str, Any] = {}
    exec(compile(here, "openai.md", "exec"), names)
    names["client"].close()
    text, width = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    assert text == chat(client, "openai-pirate", max_tokens=int(re.findall(r"max_tokens=(\d+)", code)[0]))
    assert width == "384"
