"""Inference as calls: arrays travel as safetensors, texts as JSON; the answer is always safetensors."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import httpx

from service.client.calls import SAFETENSORS, Call, path
from service.client.records import Answer
from service.client.tensors import decode_arrays, encode_arrays

Choice: TypeAlias = str | Mapping[str, float] | None
"""An adapter's reference, a composition of references with weights, or None for the base."""
Chat: TypeAlias = Sequence[Mapping[str, Any]]
"""Messages as OpenAI writes them: `{"role": "user", "content": "…"}`."""
Texts: TypeAlias = str | Sequence[str] | Sequence[Chat]
"""One text, or one for each row; or one chat for each row."""

_ANSWER_ROOM_S = 5.0
"""The answer that the deadline has passed needs a moment to arrive."""
_PREFIX = 8
"""A safetensors file begins with its header's length in so many bytes."""


def infer(
    model: str,
    inputs: Mapping[str, Any] | Texts,
    adapter: Choice | Sequence[Choice],
    outputs: Sequence[str] | None,
    parameters: Mapping[str, Any] | None,
    timeout_s: float | None,
    routing_key: str | None,
) -> Call[Answer]:
    """`inputs` are named arrays, texts or chats. `parameters` ask a language model to write."""
    headers = {"Accept": SAFETENSORS, **asked_by(timeout_s, routing_key)}
    address, wait_s = path("models", model, "infer"), None if timeout_s is None else timeout_s + _ANSWER_ROOM_S
    if isinstance(inputs, Mapping):
        params: dict[str, str | int | float | bool] = {}
        if adapter is not None:
            params["adapter"] = adapter if isinstance(adapter, str) else json.dumps(adapter)
        if outputs is not None:
            params["outputs"] = ",".join(outputs)
        headers["Content-Type"] = SAFETENSORS
        return Call(
            "POST", address, _read, params=params, headers=headers, content=encode_arrays(inputs), timeout_s=wait_s
        )
    body: dict[str, Any] = {"inputs": inputs_of(inputs), "adapter": adapter}
    if outputs is not None:
        body["outputs"] = list(outputs)
    if parameters is not None:
        body["parameters"] = dict(parameters)
    return Call("POST", address, _read, headers=headers, json=body, timeout_s=wait_s)


def asked_by(timeout_s: float | None, routing_key: str | None) -> dict[str, str]:
    """The headers of a request with this deadline and this routing key."""
    given = {"X-Request-Timeout": timeout_s, "X-Routing-Key": routing_key}
    return {name: str(value) for name, value in given.items() if value is not None}


def inputs_of(texts: Texts) -> dict[str, Any]:
    """Texts or chats as `/infer` takes them."""
    if isinstance(texts, str):
        return {"text": [texts]}
    rows: list[Any] = list(texts)
    return {"messages" if rows and not isinstance(rows[0], str) else "text": rows}


def _read(answer: httpx.Response) -> Answer:
    body = answer.content
    header = json.loads(body[_PREFIX : _PREFIX + int.from_bytes(body[:_PREFIX], "little")])
    rest = json.loads(header["__metadata__"]["answer"])
    return Answer(
        rest["model"],
        tuple(rest["adapter"]),
        tuple(rest["digest"]),
        decode_arrays(body),
        {name: tuple(texts) for name, texts in rest["outputs"].items()},
        rest["timing"],
    )
