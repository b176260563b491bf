"""An upload while it runs: how much of it was sent, and its result. A file is read as it is sent."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self, TypeAlias

from service.client.records import Pushed

Watch: TypeAlias = Callable[[int, int], None]
"""Called with how many bytes of how many have been sent or received, possibly by another thread."""


class SentFile(io.FileIO):
    """A file that says how far it was read."""

    def __init__(self, path: Path, watch: Watch | None) -> None:
        super().__init__(path, "r")
        self.bytes = path.stat().st_size
        self._watch = watch

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        if self._watch is not None:
            self._watch(self.tell(), self.bytes)
        return data


class SentBytes(io.BytesIO):
    """As `SentFile`, for bytes in memory."""

    def __init__(self, body: bytes, watch: Watch | None) -> None:
        super().__init__(body)
        self.bytes = len(body)
        self._watch = watch

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self._watch is not None:
            self._watch(self.tell(), self.bytes)
        return data


class Upload:
    """A push in a thread of its own. Entering begins it, leaving waits for it and raises what it raised.

    Iterating gives the upload itself whenever more was `sent` of the `total` bytes, until it has ended.
    """

    def __init__(self, push: Callable[[Watch], Pushed]) -> None:
        self.sent = 0
        self.total = 0
        self._push = push
        self._steps: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._future: Future[Pushed] | None = None

    @property
    def result(self) -> Pushed:
        """The push's result; waits for its end."""
        assert self._future is not None, "enter the upload first: `with client.adapters.upload(…) as progress:`"
        return self._future.result()

    def __enter__(self) -> Self:
        with_thread = ThreadPoolExecutor(1, "upload")
        self._future = with_thread.submit(self._push, lambda sent, total: self._steps.put((sent, total)))
        self._future.add_done_callback(lambda _: self._steps.put(None))
        with_thread.shutdown(wait=False)
        return self

    def __iter__(self) -> Iterator[Self]:
        while (step := self._steps.get()) is not None:
            self.sent, self.total = step
            yield self
        self._steps.put(None)  # whoever iterates again finds the end at once

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._future
        failure = self._future.exception()
        if failure is not None and kind is None:
            raise failure


class AsyncUpload:
    """As `Upload`, for asyncio: a task, and `async with` and `async for`."""

    def __init__(self, push: Callable[[Watch], Coroutine[Any, Any, Pushed]]) -> None:
        self.sent = 0
        self.total = 0
        self._push = push
        self._steps: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
        self._task: asyncio.Task[Pushed] | None = None

    async def result(self) -> Pushed:
        """The push's result; waits for its end."""
        assert self._task is not None, "enter the upload first: `async with client.adapters.upload(…) as progress:`"
        return await self._task

    async def __aenter__(self) -> Self:
        pushing = self._push(lambda sent, total: self._steps.put_nowait((sent, total)))
        self._task = asyncio.create_task(pushing)
        self._task.add_done_callback(lambda _: self._steps.put_nowait(None))
        return self

    async def __aiter__(self) -> AsyncIterator[Self]:
        while (step := await self._steps.get()) is not None:
            self.sent, self.total = step
            yield self
        self._steps.put_nowait(None)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._task
        await asyncio.wait([self._task])
        failure = self._task.exception()
        if failure is not None and kind is None:
            raise failure
