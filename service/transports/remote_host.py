"""A host in a process of its own, as the front speaks to it: verbs become frames, frames become futures' results."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias, TypeVar

from pydantic import TypeAdapter

from models_registry.errors import RegistryError
from models_registry.records import AdapterVersion
from service.protocol import codec
from service.protocol.errors import HostLost
from service.protocol.frames import FrameReader, FrameWriter, frame, read_tensors
from service.protocol.messages import Answered, Ask, Cancel, Failed, FromHost, Idle, Reply, Tell, Working, Written
from service.protocol.stats import ProcessStats
from service.protocol.texts import OnPart
from service.protocol.types import (
    BuildOrder,
    Built,
    FreshWeights,
    HostAnswer,
    HostLoss,
    HostStatus,
    InferCall,
    Merged,
    MergeOrder,
    ModelProfile,
    Selection,
    Tensors,
    Work,
    distinct_versions,
)
from service.transports.processes.host_process import HostProcess

T = TypeVar("T")
Read: TypeAlias = Callable[[Reply, bytearray], Any]

log = logging.getLogger(__name__)

ENDING_S = 5.0
"""How long a process may take to end once it was killed, or has closed its end."""
OF_ITS_LIFE = {"open", "build", "close"}
"""Verbs that end with their host, and not before."""


@dataclass(slots=True)
class _Asked:
    """A call that the host hasn't answered."""

    future: Future[Any]
    verb: str = "infer"
    read: Read | None = None
    selections: tuple[Selection, ...] = field(default=())
    on_part: OnPart | None = None


class RemoteHost:
    """See `protocol.host.ModelHost`. `model` is the name in messages."""

    def __init__(self, model: str, process: HostProcess) -> None:
        self._model = model
        self._process = process
        self._writer = FrameWriter(process.socket)
        self._sending = threading.Lock()
        self._ids = count(1)
        self._asked: dict[int, _Asked] = {}
        self._inferring: dict[int, _Asked] = {}
        self._learnt: set[str] = set()
        self._work: Work | None = None
        self._reason: RegistryError | None = None
        self._ended: HostLost | RegistryError | None = None
        self._lost: Future[HostLoss] = Future()
        self._kill_reason: str | None = None
        self._thread = threading.Thread(target=self._read, name=f"host of {model}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> Future[HostLoss]:
        return self._lost

    @property
    def work(self) -> Work | None:
        return self._work

    @property
    def process(self) -> ProcessStats:
        return ProcessStats(self._process.pid, self._process.rss_bytes(), self._process.age_s)

    # ---- verbs --------------------------------------------------------------------------------------------------

    def open(self, order: BuildOrder) -> Future[None]:
        return self._ask("open", codec.BUILD_ORDER.dump_json((order,)), codec.NOTHING)

    def build(self) -> Future[Built]:
        return self._ask("build", b"null", codec.BUILT)

    def profile(self) -> Future[ModelProfile]:
        return self._ask("profile", b"null", codec.PROFILE)

    def infer(
        self, id: int, call: InferCall, selections: tuple[Selection, ...], on_part: OnPart | None = None
    ) -> Future[HostAnswer]:
        asked = _Asked(Future(), selections=selections, on_part=on_part)
        asked.future.set_running_or_notify_cancel()  # only the host's word ends it, for until then it may run
        message = codec.encode(codec.infer_message(id, call, selections, streams=on_part is not None))
        content = frame(message, list(call.inputs.tensors.values()))
        with self._sending:
            if self._ended is not None:
                asked.future.set_exception(self._ended)
                return asked.future
            self._inferring[id] = asked
            self._learn(distinct_versions(selections))
            self._writer.send(content)
        return asked.future

    def cancel(self, id: int) -> None:
        self._writer.send(frame(codec.encode(Cancel(id))))

    def prepare(self, version: AdapterVersion) -> Future[None]:
        return self._ask("prepare", codec.VERSIONS.dump_json((version,)), codec.NOTHING)

    def attach(self, version: AdapterVersion) -> Future[None]:
        return self._ask("attach", codec.VERSIONS.dump_json((version,)), codec.NOTHING)

    def load(self, version: AdapterVersion, pin: bool, replicas: int | None = None) -> Future[None]:
        return self._ask("load", codec.PINNED.dump_json((version, pin)), codec.NOTHING)

    def unload(self, keys: Collection[str]) -> Future[bool]:
        return self._ask("unload", codec.KEYS.dump_json(tuple(keys)), codec.FREED)

    def forget(self, keys: Collection[str]) -> None:
        with self._sending:
            self._learnt.difference_update(keys)
            self._tell("forget", codec.KEYS.dump_json(tuple(keys)))

    def initial_weights(self, id: int, fresh: FreshWeights) -> Future[Tensors]:
        return self._ask_for("initial_weights", codec.FRESH.dump_json((id, fresh)), _tensors)

    def merge(self, id: int, order: MergeOrder) -> Future[Merged]:
        def read(reply: Reply, payload: bytearray) -> Merged:
            config, warnings = codec.MERGED.validate_json(reply.result)
            return Merged(config, warnings, _tensors(reply, payload))

        return self._ask_for("merge", codec.MERGE.dump_json((id, order)), read)

    def status(self, keys: Collection[str] = ()) -> Future[HostStatus]:
        return self._ask("status", codec.KEYS.dump_json(tuple(keys)), codec.STATUS)

    def share(self, models: int) -> None:
        with self._sending:
            self._tell("share", codec.COUNT.dump_json(models))

    def share_resident(self, shares: Mapping[str, float]) -> None:
        with self._sending:
            self._tell("share_resident", codec.SHARES.dump_json(dict(shares)))

    def give_up(self, reason: RegistryError) -> None:
        # Not by the host's word alone: one that is stuck says nothing any more.
        with self._sending:
            self._tell("give_up", codec.reason_bytes(reason))
            ids = [id for id, asked in self._asked.items() if asked.verb not in OF_ITS_LIFE]
            waiting = [self._asked.pop(id) for id in ids] + list(self._inferring.values())
            self._inferring.clear()
        for asked in waiting:
            asked.future.set_exception(reason)

    def close(self, reason: RegistryError) -> Future[None]:
        closed: Future[None] = Future()

        def end() -> None:
            self._finish(reason)  # whatever it answered
            closed.set_result(None)

        self._reason = reason
        self._ask("close", codec.reason_bytes(reason), codec.NOTHING).add_done_callback(
            lambda _: threading.Thread(target=end, name="closing a host", daemon=True).start()
        )
        return closed

    def end(self, reason: RegistryError) -> bool:
        self._finish(reason)
        return True

    def kill(self, reason: str) -> None:
        """End the process as one that is lost, for this reason."""
        self._kill_reason = reason
        self._process.kill()

    # ---- inside -------------------------------------------------------------------------------------------------

    def _finish(self, reason: RegistryError) -> None:
        """Returns once the process has ended and everybody who waited has `reason`."""
        self._reason = reason
        self._process.kill()
        self._process.wait(ENDING_S)
        if threading.current_thread() is not self._thread:
            self._thread.join(ENDING_S)

    def _ask(self, verb: str, arguments: bytes, result: TypeAdapter[T]) -> Future[T]:
        return self._ask_for(verb, arguments, lambda reply, _: result.validate_json(reply.result))

    def _ask_for(self, verb: str, arguments: bytes, read: Callable[[Reply, bytearray], T]) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        id = next(self._ids)
        with self._sending:
            if self._ended is not None:
                future.set_exception(self._ended)
                return future
            self._asked[id] = _Asked(future, verb, read)
            self._writer.send(frame(codec.encode(Ask(id, verb, arguments))))
        return future

    def _tell(self, verb: str, arguments: bytes) -> None:
        self._writer.send(frame(codec.encode(Tell(verb, arguments))))

    def _learn(self, versions: Collection[AdapterVersion]) -> None:
        new = tuple(version for version in versions if version.key not in self._learnt)
        if new:
            self._learnt.update(version.key for version in new)
            self._tell("learn", codec.VERSIONS.dump_json(new))

    # ---- the reader's thread ------------------------------------------------------------------------------------

    def _read(self) -> None:
        reader = FrameReader(self._process.socket)
        try:
            while (received := reader.read()) is not None:
                head, payload = received
                self._hear(codec.decode_from_host(head), payload)
        except Exception:  # a factory's code may write to the socket, too
            log.exception("the host of model %s can't be understood", self._model)
            self._kill_reason = "it said what nobody understands"
        self._end()

    def _hear(self, message: FromHost, payload: bytearray) -> None:
        match message:
            case Answered():
                self._give_answer(message, payload)
            case Written():
                self._give_part(message)
            case Working():
                self._work = Work(tuple(message.ids), time.monotonic())
            case Idle():
                self._work = None
            case Reply():
                if (asked := self._asked.pop(message.id, None)) is not None:
                    _resolve(asked, message, payload)
            case Failed():
                failed = (self._inferring if message.infers else self._asked).pop(message.id, None)
                if failed is not None:
                    failed.future.set_exception(codec.error_of(message))

    def _give_answer(self, message: Answered, payload: bytearray) -> None:
        if (asked := self._inferring.get(message.id)) is not None:
            answer = codec.host_answer(message, asked.selections, payload)
            if self._inferring.pop(message.id, None) is asked:  # nobody gave up meanwhile
                asked.future.set_result(answer)

    def _give_part(self, message: Written) -> None:
        if (asked := self._inferring.get(message.id)) is not None and asked.on_part is not None:
            asked.on_part(message.part)

    def _end(self) -> None:
        """The host's end is closed: every call that waits fails with the reason."""
        self._process.kill()
        exit_ = self._process.wait(ENDING_S)
        running = self._work.ids if self._work else ()
        how = self._kill_reason or (str(exit_) if exit_ else "it could not be ended")
        reason = self._reason
        if reason is None:
            self._lost.set_result(
                HostLoss(how, running)
            )  # before any call fails, so that its caller finds the model restarting
        with self._sending:
            self._ended = reason or HostLost(self._model, how, running)
            waiting = [*self._inferring.values(), *self._asked.values()]
            self._inferring.clear()
            self._asked.clear()
        self._work = None
        self._writer.close()
        self._process.socket.close()
        for asked in waiting:
            asked.future.set_exception(self._ended)


def _resolve(asked: _Asked, reply: Reply, payload: bytearray) -> None:
    assert asked.read is not None, "every verb that is asked has a result"
    try:
        asked.future.set_result(asked.read(reply, payload))
    except Exception as error:  # whatever it is, somebody waits for this
        asked.future.set_exception(error)


def _tensors(reply: Reply, payload: bytearray) -> Tensors:
    return dict(zip(reply.names, read_tensors(reply.tensors, payload), strict=True))
