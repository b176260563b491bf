"""The requests of several fronts on one replica: their numbers there, and the versions that they name."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from concurrent.futures import CancelledError, Future
from itertools import count

from cachetools import FIFOCache

from models_registry.records import AdapterVersion
from service.protocol import codec
from service.protocol.errors import HostLost
from service.protocol.frames import joined_frame, split_frame
from service.protocol.host import ModelHost
from service.protocol.messages import Infer, Written
from service.protocol.replicas import Inferred, Lost, Unknown
from service.protocol.texts import OnPart, TextPart
from service.protocol.types import HostAnswer, Selection

MOST_CANCELLED = 10_000
"""Cancellations that arrived before their request did."""


class ReplicaRequests:
    """For one event loop."""

    def __init__(self, host: str) -> None:
        """`host` is what its replica is called, which has only one in its life."""
        self._host = host
        self._numbers = count(1)
        self._mine: dict[tuple[str, int], int] = {}
        self._theirs: dict[int, tuple[str, int]] = {}
        self._versions: dict[str, AdapterVersion] = {}
        self._cancelled: FIFOCache[tuple[str, int], None] = FIFOCache(MOST_CANCELLED)

    def number(self, front: str, id: int) -> int:
        """What the host here calls a front's request."""
        number = self._mine.setdefault((front, id), next(self._numbers))
        self._theirs[number] = (front, id)
        return number

    def release(self, front: str, id: int) -> None:
        """It has its answer."""
        self._theirs.pop(self._mine.pop((front, id), 0), None)

    def cancel(self, host: ModelHost, front: str, id: int) -> None:
        if (number := self._mine.get((front, id))) is not None:
            host.cancel(number)
        else:
            self._cancelled[front, id] = None

    def forget(self, keys: Collection[str]) -> None:
        """These versions were removed."""
        for key in keys:
            self._versions.pop(key, None)

    async def infer(
        self,
        host: ModelHost,
        front: str,
        content: bytes,
        versions: Collection[AdapterVersion],
        on_part: OnPart | None = None,
    ) -> Inferred:
        """The frame that answers a front's request."""
        self._versions |= {version.key: version for version in versions}
        head, payload = split_frame(content)
        message = codec.decode_from_front(head)
        assert isinstance(message, Infer), "nothing else is sent so"
        unknown = {key for parts in message.selections for key, _ in parts} - self._versions.keys()
        if unknown:
            return Unknown(tuple(unknown))
        id = message.id
        number = self.number(front, id)
        try:
            selections = codec.selections_of(message, self._versions)
            answering = host.infer(number, codec.infer_call(message, payload), selections, on_part)
            if self._cancelled.pop((front, id), "no") is None:
                host.cancel(number)
            return _answer(id, selections, await _ended(answering, lambda: host.cancel(number)))
        except HostLost as error:
            return Lost(error.reason, self._as_seen_by(front, error.running), self._host)
        except Exception as error:  # whoever asked raises it
            return joined_frame(codec.encode(codec.failed_message(id, error, infers=True)))
        finally:
            self.release(front, id)

    async def stream(
        self, host: ModelHost, front: str, content: bytes, versions: Collection[AdapterVersion]
    ) -> AsyncGenerator[Inferred, None]:
        """As `infer`, the parts of the texts before that."""
        loop = asyncio.get_running_loop()
        said: asyncio.Queue[Inferred] = asyncio.Queue()

        def hear(part: TextPart) -> None:
            written = joined_frame(codec.encode(Written(0, part)))
            loop.call_soon_threadsafe(said.put_nowait, written)

        async def answer() -> None:
            # Behind the parts: those were put before the host's future was done.
            said.put_nowait(await self.infer(host, front, content, versions, hear))

        answering = asyncio.create_task(answer())
        try:
            while True:
                one = await said.get()
                yield one
                if answering.done() and said.empty():
                    return
        finally:
            answering.cancel()

    def _as_seen_by(self, front: str, running: Collection[int]) -> tuple[int, ...]:
        seen: list[int] = []
        for number in running:
            whose, id = self._theirs.get(number, ("", 0))
            seen.append(id if whose == front else -number)
        return tuple(seen)


async def _ended(answering: Future[HostAnswer], cancel: Callable[[], None]) -> HostAnswer:
    """Raises as it does, also `CancelledError` where the host has dropped it."""
    try:
        return await asyncio.wrap_future(answering)
    except asyncio.CancelledError as error:
        if answering.done():  # a loop has another class for this than futures
            raise CancelledError from error
        cancel()  # its front has ended
        raise


def _answer(id: int, selections: tuple[Selection, ...], answer: HostAnswer) -> bytes:
    message, tensors = codec.answered_message(id, selections, answer)
    return joined_frame(codec.encode(message), tensors)
