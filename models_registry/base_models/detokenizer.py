"""Tokens to text, by the tokenizer that lies beside a model."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from transformers import PreTrainedTokenizerBase


class Detokenizer:
    """Threads may share it.

    `silent_ids` are special tokens, which give no text; those of `marks` give themselves. `byte_ids` stand for a byte
    each: a tokenizer without a token for a character writes it as several, and reads a run of them as text only if all
    of it is.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, marks: Iterable[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._marks: dict[int, str] = {}
        added = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
        silent = frozenset(id for id in added if not self.decode([id]))
        wanted = {mark: id for mark in marks if (id := _id_of(tokenizer, mark)) is not None}
        self._marks = {id: mark for mark, id in wanted.items() if id in silent}
        self.silent_ids: Final = silent - self._marks.keys()
        self.byte_ids: Final = frozenset(_byte_ids(tokenizer))
        self.cleans_up: Final = bool(tokenizer.clean_up_tokenization_spaces)
        """Whether a space may go because of what follows it, as before a full stop."""
        self._before: Final = tokenizer("a", add_special_tokens=False, padding=False, truncation=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """Without the special tokens that are no marks."""
        if self._marks.keys().isdisjoint(ids):
            return _text(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        pieces = groupby(ids, self._marks.get)
        return "".join(self.decode(list(run)) if mark is None else mark * len(list(run)) for mark, run in pieces)

    def piece(self, id: int) -> str:
        """What one token adds to a text, with its space; of half a character, a replacement character. Special tokens
        are written out."""
        before = _text(self._tokenizer.decode(self._before))
        both = _text(self._tokenizer.decode([*self._before, id]))
        return both.removeprefix(before)


def _byte_ids(tokenizer: PreTrainedTokenizerBase) -> Iterator[int]:
    ids = (_id_of(tokenizer, f"<0x{byte:02X}>") for byte in range(256))
    return (id for id in ids if id is not None)


def _id_of(tokenizer: PreTrainedTokenizerBase, name: str) -> int | None:
    """Not that of the token for unknown ones."""
    id = tokenizer.convert_tokens_to_ids(name)
    return id if isinstance(id, int) and tokenizer.convert_ids_to_tokens(id) == name else None


def _text(decoded: str | list[str]) -> str:
    return decoded if isinstance(decoded, str) else "".join(decoded)
