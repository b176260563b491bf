"""What turns a host's texts into answers of OpenAI's API: one for chats, one for completions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel

from service.protocol.texts import TextPart, WrittenText


class Writer(Protocol):
    """Of one request. Rows are numbered through: `n` of the first prompt come first."""

    def whole(self, texts: Sequence[str], ends: Sequence[WrittenText]) -> BaseModel:
        """All texts, and how each ended."""
        ...

    def begin(self) -> Iterator[BaseModel]:
        """What stands before all parts."""
        ...

    def chunks(self, part: TextPart) -> Iterator[BaseModel]:
        """What a part of a text says."""
        ...

    def usage(self, ends: Mapping[int, WrittenText]) -> BaseModel:
        """The chunk behind all others, by how each row ended."""
        ...
