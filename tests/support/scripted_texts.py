"""A host that writes what a test tells it to, when it tells it to: for what happens while a text is written."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from models_registry.errors import RegistryError
from service.host.model_host import TorchHost
from service.protocol.texts import DrawnToken, OnPart, TextPart, WrittenText
from service.protocol.types import HostAnswer, InferCall, Selection

TIMEOUT_S = 60.0
ENDED = WrittenText("stop", prompt_tokens=7, tokens=2, cached_tokens=3)


@dataclass
class Call:
    """One request that the host has."""

    call: InferCall
    selections: tuple[Selection, ...]
    on_part: OnPart | None
    future: Future[HostAnswer] = field(default_factory=Future[HostAnswer])
    cancelled: threading.Event = field(default_factory=threading.Event)

    def write(self, text: str, row: int = 0, end: WrittenText | None = None, *tokens: DrawnToken) -> None:
        assert self.on_part is not None
        self.on_part(TextPart(row, text, tokens, end))

    def finish(self, *texts: str, ends: tuple[WrittenText, ...] = ()) -> None:
        rows = len(texts)
        selections = self.selections if len(self.selections) == rows else self.selections * rows
        self.future.set_result(HostAnswer(selections, {"text": texts}, 1.0, 0.0, 2.0, ends or (ENDED,) * rows))

    def fail(self, error: RegistryError) -> None:
        self.future.set_exception(error)


class Script:
    """What is asked of hosts, in turn. `act` does what it likes with each call, on a thread of its own."""

    def __init__(self) -> None:
        self.act: Callable[[Call], None] = lambda call: call.finish("")
        self.calls: list[Call] = []
        self.came = threading.Semaphore(0)

    def infer(
        self, id: int, call: InferCall, selections: tuple[Selection, ...], on_part: OnPart | None = None
    ) -> Future[HostAnswer]:
        asked = Call(call, selections, on_part)
        self.calls.append(asked)
        self.came.release()
        threading.Thread(target=self.act, args=(asked,), daemon=True).start()
        return asked.future

    def cancel(self, id: int) -> None:
        for asked in self.calls:
            asked.cancelled.set()


@contextmanager
def scripted() -> Generator[Script]:
    """Hosts in this process follow the script inside."""
    script = Script()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchHost, "infer", script.infer)
        patch.setattr(TorchHost, "cancel", script.cancel)
        yield script
