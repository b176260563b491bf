"""What turns a host's texts into answers of OpenAI's API, in each of its forms."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from service.front.api.http.event_stream import event
from service.protocol.texts import TextPart, WrittenText

DONE = b"data: [DONE]\n\n"


class Writer(Protocol):
    """Of one request. Rows are numbered through: `n` of the first prompt come first. Streams are whole events."""

    def whole(self, texts: Sequence[str], ends: Sequence[WrittenText]) -> BaseModel:
        """All texts, and how each ended."""
        ...

    def begin(self) -> Iterator[bytes]:
        """What stands before all parts."""
        ...

    def chunks(self, part: TextPart) -> Iterator[bytes]:
        """What a part of a text says."""
        ...

    def end(self, ends: Mapping[int, WrittenText]) -> Iterator[bytes]:
        """What stands behind all parts, by how each row ended."""
        ...

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """What ends a stream that breaks, of OpenAI's body of an error."""
        ...


class ChunkWriter(ABC):
    """The end of a stream whose events are nothing but data, as chats' and completions' are."""

    def __init__(self, reports_usage: bool) -> None:
        self._reports_usage = reports_usage

    def end(self, ends: Mapping[int, WrittenText]) -> Iterator[bytes]:
        if self._reports_usage:
            yield written(self._usage(ends))
        yield DONE

    def failure(self, error: Mapping[str, Any]) -> bytes:
        return event(error)

    @abstractmethod
    def _usage(self, ends: Mapping[int, WrittenText]) -> BaseModel:
        """The chunk behind all others."""


def written(chunk: BaseModel, name: str | None = None) -> bytes:
    """One event, without the fields that nobody set."""
    return event(chunk.model_dump(exclude_unset=True), name)
