"""What a request asks for, before any host has read it: its rows, the texts that it has written, and their tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from models_registry.inputs.values import Chat, Inputs
from service.front.requests import InferRequest

BYTES_PER_TOKEN: Final = 4
"""The front has no tokenizer: of texts it guesses, and corrects the charge once the host has counted."""
MOST_TOKENS: Final = 1 << 40
"""Of one text: longer ones are written by nobody, and numbers of any length can't be told."""
DEFAULT_LENGTH: Final = 64
"""Of a text whose request names no length, as in `GenerationParameters`."""


@dataclass(frozen=True, slots=True)
class Demand:
    """`rows` of all kinds; `sequences` are those of them that are texts to write. `tokens` are those of the prompts,
    with as many new ones as each text may have."""

    rows: int
    sequences: int = 0
    tokens: int = 0


def demand_of(request: InferRequest) -> Demand:
    rows = _rows(request)
    prompt = _prompt_tokens(request.inputs)
    if request.parameters is None:
        return Demand(rows, tokens=prompt)
    return Demand(rows, rows, prompt + rows * _new_tokens(request.parameters))


def _rows(request: InferRequest) -> int:
    inputs = request.inputs
    entries = len(request.adapters) if isinstance(request.adapters, tuple) else 0
    # Of tensors the leading dimension is the rows, where the model has any.
    tensors = (tensor.shape[0] if tensor.ndim else 1 for tensor in inputs.tensors.values())
    return max(len(inputs.texts), len(inputs.tokens), len(inputs.chats), entries, next(tensors, 0), 1)


def _prompt_tokens(inputs: Inputs) -> int:
    ids, mask = inputs.tensors.get("input_ids"), inputs.tensors.get("attention_mask")
    if ids is not None:
        return int(torch.count_nonzero(mask)) if mask is not None and mask.shape == ids.shape else ids.numel()
    tools = sum(len(str(tool)) for tool in inputs.tools)
    texts = [*map(_bytes, inputs.texts), *(_chat_bytes(chat) + tools for chat in inputs.chats)]
    return sum(map(len, inputs.tokens)) + sum(-(-size // BYTES_PER_TOKEN) for size in texts)


def _chat_bytes(chat: Chat) -> int:
    return sum(_bytes(text) for message in chat for text in _texts_of(message.get("content")))


def _texts_of(content: Any) -> Iterator[str]:
    """Of a list of parts those of text: an image's bytes say nothing of how many tokens it is."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Sequence):
        yield from (str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _new_tokens(parameters: Mapping[str, Any]) -> int:
    """The host later refuses what is no number."""
    asked = parameters.get("max_new_tokens", parameters.get("max_tokens"))
    return min(asked, MOST_TOKENS) if isinstance(asked, int) and asked > 0 else DEFAULT_LENGTH
