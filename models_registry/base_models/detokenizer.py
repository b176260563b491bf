"""Tokens to text, by the tokenizer that lies beside a model."""

from collections.abc import Iterator, Sequence
from typing import Final

from transformers import PreTrainedTokenizerBase


class Detokenizer:
    """Threads may share it.

    `silent_ids` are special tokens, which give no text. `byte_ids` stand for a byte each: a tokenizer without a token
    for a character writes it as several, and reads a run of them as text only if all of it is.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        added = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
        self.silent_ids: Final = frozenset(id for id in added if not self.decode([id]))
        self.byte_ids: Final = frozenset(_byte_ids(tokenizer))
        self.cleans_up: Final = bool(tokenizer.clean_up_tokenization_spaces)
        """Whether a space may go because of what follows it, as before a full stop."""
        self._before: Final = tokenizer("a", add_special_tokens=False, padding=False, truncation=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """Without the special tokens."""
        return _text(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def piece(self, id: int) -> str:
        """What one token adds to a text, with its space; of half a character, a replacement character. Special tokens
        are written out."""
        before = _text(self._tokenizer.decode(self._before))
        both = _text(self._tokenizer.decode([*self._before, id]))
        return both.removeprefix(before)


def _byte_ids(tokenizer: PreTrainedTokenizerBase) -> Iterator[int]:
    for byte in range(256):
        name = f"<0x{byte:02X}>"
        id = tokenizer.convert_tokens_to_ids(name)
        if isinstance(id, int) and tokenizer.convert_ids_to_tokens(id) == name:
            yield id


def _text(decoded: str | list[str]) -> str:
    return decoded if isinstance(decoded, str) else "".join(decoded)
