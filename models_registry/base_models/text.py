"""Texts to token rows and back, by the tokenizer that lies beside a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from models_registry.base_models.chat_template import render_chats
from models_registry.errors import Invalid, TooLong
from models_registry.inputs.values import Inputs
from models_registry.records import Fault

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)
LONGEST_TOKEN = 128
"""Characters; a text that has more than this for each token that fits is refused before it is taken apart."""
UNLIMITED = 10**9  # transformers writes a tokenizer without a limit as 10**30


class Text:
    """A tokenizer that threads may share: it never pads or truncates, for those are settings that calls would share."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        tokenizer("a", padding=False, truncation=False)  # clears the settings that came in tokenizer.json, once

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self._tokenizer

    @property
    def template(self) -> str | None:
        """Of chats; all of them where there are several."""
        return str(self._tokenizer.chat_template) if self._tokenizer.chat_template else None

    @property
    def pad_token_id(self) -> int:
        """What fills a row. Any token will do where none is meant for it, for the attention mask hides it."""
        own, end = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        return next((token for token in (own, end) if isinstance(token, int)), 0)

    @property
    def pad_segment(self) -> int:
        return self._tokenizer.pad_token_type_id

    @property
    def limit(self) -> int | None:
        length = self._tokenizer.model_max_length
        return length if length < UNLIMITED else None

    def prepare(self, inputs: Inputs, chat: bool | None, writes: bool) -> Inputs:
        """Chats, and texts that are turns of one, as the chat template writes them. Raises `Invalid`."""
        if inputs.tokens:
            return inputs
        has_template = bool(self._tokenizer.chat_template)
        if inputs.chats and chat is False:
            raise Invalid("Chats need the template.", [Fault(("chat",), "is false; without the template, send text")])
        if not has_template and (inputs.chats or chat):
            message = "This base model's tokenizer has no chat template; send text, and leave chat out."
            raise Invalid(message, [Fault(("inputs", "messages") if inputs.chats else ("chat",), message)])
        if inputs.chats:
            texts = render_chats(self._tokenizer, inputs.chats, ("inputs", "messages"), inputs.tools)
        elif writes and has_template if chat is None else chat:
            chats = [({"role": "user", "content": text},) for text in inputs.texts]
            texts = render_chats(self._tokenizer, chats, ("inputs", "text"))
        else:
            return inputs
        return Inputs(texts=texts, is_templated=True)

    def rows(
        self, inputs: Inputs, limit: int | None, side: Literal["left", "right"] = "right", new_tokens: int = 0
    ) -> dict[str, Tensor]:
        """Padded [rows, tokens], on the left where a continuation of `new_tokens` is to follow. Raises `Invalid` naming
        every text without tokens, or with more than `limit` has room for."""
        if inputs.tokens:
            given = [list(row) for row in inputs.tokens]
            check_lengths([len(row) for row in given], limit, new_tokens)
            masks = [[1] * len(row) for row in given]
            return {
                "input_ids": _padded(given, self.pad_token_id, side),
                "attention_mask": _padded(masks, 0, side),
            }
        return self._encode(inputs.texts, limit, side, special_tokens=not inputs.is_templated, new_tokens=new_tokens)

    def decode(self, rows: Tensor | list[list[int]]) -> tuple[str, ...]:
        return tuple(self._tokenizer.batch_decode(rows, skip_special_tokens=True))

    def decode_all(self, rows: Tensor) -> tuple[str, ...]:
        """With the special tokens."""
        return tuple(self._tokenizer.batch_decode(rows))

    def _encode(
        self,
        texts: Sequence[str],
        limit: int | None,
        side: Literal["left", "right"],
        *,
        special_tokens: bool,
        new_tokens: int = 0,
    ) -> dict[str, Tensor]:
        _check_characters(texts, limit)
        encoded: Mapping[str, list[list[int]]] = self._tokenizer(
            list(texts), padding=False, truncation=False, add_special_tokens=special_tokens, verbose=False
        ).data
        check_lengths([len(row) for row in encoded["input_ids"]], limit, new_tokens)
        fill: Mapping[str, Any] = {"input_ids": self.pad_token_id, "token_type_ids": self.pad_segment}
        return {name: _padded(rows, fill.get(name, 0), side) for name, rows in encoded.items()}


def read_text(directory: Path, gguf_file: str | None) -> Text | None:
    """The tokenizer beside a model; None where there is none. Raises `Invalid` where it can't be read."""
    if gguf_file is None and not any((directory / name).is_file() for name in TOKENIZER_FILES):
        return None
    extra = {} if gguf_file is None else {"gguf_file": gguf_file}
    try:
        return Text(AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False, **extra))
    except Exception as error:  # transformers raises many kinds here; each says what is wrong with the files
        message = f"The tokenizer in {directory.name} can't be read: {type(error).__name__}: {error}"
        raise Invalid(message, [Fault(("source", "path"), message)]) from error


def _padded(rows: Sequence[Sequence[int]], fill: int, side: Literal["left", "right"]) -> Tensor:
    if len(set(map(len, rows))) == 1:
        return torch.tensor(rows)
    return pad_sequence([torch.tensor(row) for row in rows], True, fill, side)


def _check_characters(texts: Sequence[str], limit: int | None) -> None:
    """Raises `Invalid` naming every text that has no chance to fit: taking it apart costs what its characters cost."""
    if limit is None:
        return
    faults = [
        Fault(("inputs", "text", row), f"This text has {len(text)} characters; at most {max(limit, 0)} tokens fit.")
        for row, text in enumerate(texts)
        if len(text) > max(limit, 1) * LONGEST_TOKEN
    ]
    if faults:
        raise TooLong("Some texts don't fit the model.", faults)


def check_lengths(lengths: Sequence[int], limit: int | None, new_tokens: int) -> None:
    """Raises `Invalid` naming each text without tokens, `TooLong` those with more than `limit` has room for."""
    faults = [Fault(("inputs", "text", row), "This text has no tokens.") for row, n in enumerate(lengths) if n == 0]
    faults += [
        Fault(("inputs", "text", row), _too_long(n, limit, new_tokens))
        for row, n in enumerate(lengths)
        if limit is not None and n + new_tokens > limit
    ]
    if faults:
        kind = TooLong if all(lengths) else Invalid
        raise kind("Some texts don't fit the model.", faults)


def _too_long(tokens: int, limit: int, new_tokens: int) -> str:
    if tokens > limit or not new_tokens:
        return (
            f"This text has {tokens} tokens; the model takes at most {limit}, and it is not cut silently. Shorten it."
        )
    return (
        f"This text has {tokens} tokens; with the {new_tokens} that are to follow these are more than the {limit} that "
        f"fit. Ask for fewer by max_new_tokens (at most {limit - tokens}), or shorten it."
    )
