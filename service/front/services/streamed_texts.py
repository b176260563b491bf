"""The texts of one request while they are written, for the one reader who waits for them.

The host's words arrive on any thread; the reader is on the event loop. What the reader hasn't taken of a text yet is
joined, so that a slow reader delays no other and costs no more memory than the text itself.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from models_registry.call_forms import CallForm
from service.front.requests import AdapterChoice, Digest, InferAnswer
from service.front.resolution.adapter_selection import digest_of, exact_choice
from service.protocol.texts import TextPart
from service.protocol.types import Selection


class StreamedTexts:
    """Made on the event loop. `begin` and `hear` may be called by any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._changing = threading.Lock()
        self._unread: dict[int, TextPart] = {}
        self._selections: tuple[Selection, ...] = ()
        self._answering: asyncio.Task[InferAnswer] | None = None
        self.has_begun = False
        """Whether there was a part: what its reader has may not be written again."""
        self.call_form: CallForm = "hermes"

    # ---- what the request's way says ----------------------------------------------------------------------------

    def begin(self, selections: tuple[Selection, ...], call_form: CallForm) -> None:
        """These write the texts, one for each or one for all; calls in them have the `call_form`."""
        self._selections = selections
        self.call_form = call_form

    def hear(self, part: TextPart) -> None:
        with self._changing:
            before = self._unread.get(part.row)
            self._unread[part.row] = part if before is None else _joined(before, part)
            self.has_begun = True
        with suppress(RuntimeError):  # the loop has ended, and its reader with it
            self._loop.call_soon_threadsafe(self._arrived.set)

    def follow(self, answering: asyncio.Task[InferAnswer]) -> None:
        """Once this is done there are no more parts."""
        self._answering = answering
        answering.add_done_callback(lambda _: self._arrived.set())

    # ---- the reader's side --------------------------------------------------------------------------------------

    def adapter_of(self, row: int) -> AdapterChoice:
        """The exact version that writes the text, once there is a part."""
        return exact_choice(self._selection_of(row))

    def digest_of(self, row: int) -> Digest:
        return digest_of(self._selection_of(row))

    async def wait(self) -> None:
        """Return when there is a part, or no more will be. Raises what `Engine.infer` raises."""
        await self._arrived.wait()
        if not self._unread:
            _ = self.answer

    async def parts(self, patience_s: float) -> AsyncGenerator[Sequence[TextPart]]:
        """At most one of each row at a time, until all texts have ended; none where nothing came for `patience_s`.
        Raises what `Engine.infer` raises."""
        assert self._answering is not None
        while True:
            self._arrived.clear()  # before looking: what comes meanwhile sets it again
            if parts := self._take():
                yield parts
            elif self._answering.done():
                _ = self.answer
                return
            else:
                try:
                    async with asyncio.timeout(patience_s):
                        await self._arrived.wait()
                except TimeoutError:
                    yield ()

    @property
    def answer(self) -> InferAnswer:
        """When there are no more parts. Raises what `Engine.infer` raises."""
        assert self._answering is not None
        return self._answering.result()

    # ---- inside -------------------------------------------------------------------------------------------------

    def _take(self) -> tuple[TextPart, ...]:
        with self._changing:
            taken, self._unread = self._unread, {}
        return tuple(taken.values())

    def _selection_of(self, row: int) -> Selection:
        return self._selections[row if len(self._selections) > 1 else 0]


def _joined(first: TextPart, then: TextPart) -> TextPart:
    return TextPart(first.row, first.text + then.text, first.tokens + then.tokens, then.end)
