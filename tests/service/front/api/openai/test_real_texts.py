"""What tiny models write and refuse, in OpenAI's API and in ours: no script stands between."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from tiny_llava import picture

ENCODED = "data:image/png;base64,"


@pytest.fixture(scope="module")
def seer(http: httpx.Client) -> Iterator[str]:
    """Reads images."""
    source = {"kind": "huggingface", "path": "seer"}
    body = {"id": "seer", "source": source, "task": "image-text-to-text"}
    http.post("/models", params={"wait": 60}, json=body).raise_for_status()
    yield "seer"
    http.delete("/models/seer").raise_for_status()


def chat(*urls: str) -> list[Any]:
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": "a b"}]}]


@pytest.mark.parametrize(
    ("asked", "ours", "param"),
    [
        ({"stop": ["x"] * 17}, {"stop": ["x"] * 17}, "stop"),
        ({"stop": "x" * 257}, {"stop": "x" * 257}, "stop[0]"),
        ({"extra_body": {"stop_token_ids": [1] * 65}}, {"stop_token_ids": [1] * 65}, "stop_token_ids"),
        ({"logprobs": 21}, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"max_tokens": 5000}, {"max_tokens": 5000}, "max_tokens"),
        ({"logit_bias": {"999": 1}}, {"logit_bias": {"999": 1}}, "logit_bias[999]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_text_cannot_have_is_refused_in_both_apis(
    client: OpenAI, http: httpx.Client, asked: dict[str, Any], ours: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.completions.create(model="caller", prompt="a", **asked)
    assert raised.value.param == param
    refused = http.post("/models/caller/infer", json={"inputs": {"text": ["a"]}, "chat": False, "parameters": ours})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"][:2] == ["parameters", [*ours][-1]]


def test_a_prompt_and_its_tokens_that_do_not_fit_name_both_numbers(client: OpenAI, http: httpx.Client) -> None:
    with pytest.raises(BadRequestError, match=r"30.*32") as raised:
        client.completions.create(model="caller", prompt="a b c", max_tokens=30, n=2)
    assert (raised.value.param, raised.value.code) == ("prompt", "context_length_exceeded")
    body = {"inputs": {"text": ["a b c"]}, "chat": False, "parameters": {"max_tokens": 30}}
    assert http.post("/models/caller/infer", json=body).status_code == 422


def test_a_chat_with_an_image_is_answered_by_what_it_shows(client: OpenAI, seer: str) -> None:
    def ask(*urls: str) -> str | None:
        answer = client.chat.completions.create(model=seer, messages=chat(*urls), max_tokens=6)
        return answer.choices[0].message.content

    red, blue = ask(picture(255, 0, 0)), ask(picture(0, 0, 255))
    assert red
    assert red != blue
    parts: list[Any] = [
        {"type": "input_image", "image_url": picture(255, 0, 0), "detail": "auto"},
        {"type": "input_text", "text": "a b"},
    ]
    response = client.responses.create(model=seer, input=[{"role": "user", "content": parts}], max_output_tokens=6)
    assert response.output_text == red


@pytest.mark.parametrize("url", [ENCODED + "bm8gaW1hZ2U=", ENCODED + "%%%", "https://example.org/a.png"])
def test_what_is_no_image_is_refused_in_both_apis(client: OpenAI, http: httpx.Client, seer: str, url: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.chat.completions.create(model=seer, messages=chat(picture(1, 2, 3), url), max_tokens=2)
    assert str(raised.value.param).startswith("messages[0].content[1]")
    body = {"inputs": {"messages": [chat(picture(1, 2, 3), url)]}, "parameters": {"max_tokens": 2}}
    refused = http.post(f"/models/{seer}/infer", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"][:6] == ["inputs", "messages", 0, 0, "content", 1]
