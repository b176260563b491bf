"""A host's process: what the front asks over the socket, asked of the host; what it answers, written back.

The thread that reads waits for nothing, so that cancellations and the front's end are seen inside a forward, too.
"""

import gc
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeAlias

import msgspec
from pydantic import TypeAdapter

from models_registry.records import AdapterVersion
from models_registry.redaction import redacted
from models_registry.storage.blobs import open_blob_store
from service.host.model_host import TorchHost
from service.log import LogFormat, LogLevel, adopt_loggers, start_log
from service.protocol import codec
from service.protocol.frames import FrameReader, FrameWriter, frame, head_of
from service.protocol.messages import Ask, Cancel, FromFront, Idle, Infer, Reply, Tell, Working, Written
from service.protocol.texts import TextPart
from service.protocol.types import Built, HostAnswer, Merged, Selection, Tensors

log = logging.getLogger(__name__)

Verb: TypeAlias = tuple[TypeAdapter[Any], Callable[..., Future[Any]], TypeAdapter[Any]]


class HostStart(msgspec.Struct, frozen=True):
    """What a host's process needs before its first message: its model's name, where blobs are, how it logs."""

    model: str
    blob_url: str
    s3_endpoint: str | None = None
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"


def serve(connection: socket.socket, order: bytes) -> None:
    """The entry of a host's process. Returns once the front has closed its end."""
    start = msgspec.json.decode(order, type=HostStart)
    start_log(start.log_format, redacted, start.model, start.log_level)
    adopt_loggers("transformers", "accelerate")
    HostServer(connection, start).run()


class HostServer:
    def __init__(self, connection: socket.socket, start: HostStart) -> None:
        self._reader = FrameReader(connection)
        self._writer = FrameWriter(connection)
        self._versions: dict[str, AdapterVersion] = {}
        self._forwarding: int | None = None
        """The thread that runs a forward, or gives its rows their answers."""
        self._made_together: list[bytes | memoryview] = []
        blobs = open_blob_store(start.blob_url, start.s3_endpoint)
        self._host = host = TorchHost(blobs.get, self._watch)
        self._asked: Mapping[str, Verb] = {
            "open": (codec.BUILD_ORDER, lambda asked: host.open(*asked), codec.NOTHING),
            "prepare": (codec.VERSIONS, lambda asked: host.prepare(*asked), codec.NOTHING),
            "attach": (codec.VERSIONS, lambda asked: host.attach(*asked), codec.NOTHING),
            "load": (codec.PINNED, lambda asked: host.load(*asked), codec.NOTHING),
            "unload": (codec.KEYS, host.unload, codec.FREED),
            "status": (codec.KEYS, host.status, codec.STATUS),
            "build": (codec.NOTHING, lambda _: self._build(), codec.BUILT),
            "profile": (codec.NOTHING, lambda _: host.profile(), codec.PROFILE),
        }

    def run(self) -> None:
        """Until the other side ends."""
        while (received := self._reader.read()) is not None:
            head, payload = received
            message: FromFront = codec.decode_from_front(head)
            try:
                self._handle(message, payload)
            except Exception as error:  # the host lives on for all others
                log.exception("a message of the front could not be handled")
                if isinstance(message, Infer | Ask):
                    self._fail(message.id, error, infers=isinstance(message, Infer))

    # ---- inside -------------------------------------------------------------------------------------------------

    def _handle(self, message: FromFront, payload: bytearray) -> None:
        match message:
            case Infer():
                self._infer(message, payload)
            case Cancel():
                self._host.cancel(message.id)
            case Ask():
                self._answer(message)
            case Tell():
                self._hear(message)

    def _build(self) -> Future[Built]:
        built = self._host.build()
        built.add_done_callback(_spare_the_collector)
        return built

    def _infer(self, message: Infer, payload: bytearray) -> None:
        selections = codec.selections_of(message, self._versions)
        on_part = partial(self._write, message.id) if message.streams else None
        future = self._host.infer(message.id, codec.infer_call(message, payload), selections, on_part)
        future.add_done_callback(partial(self._answered, message.id, selections))

    def _write(self, id: int, part: TextPart) -> None:
        self._send_answer(frame(codec.encode(Written(id, part))))

    def _answered(self, id: int, selections: tuple[Selection, ...], future: Future[HostAnswer]) -> None:
        try:
            answered, tensors = codec.answered_message(id, selections, future.result())
            self._send_answer(frame(codec.encode(answered), tensors))
        except BaseException as error:  # also what can't be sent: somebody waits
            self._fail(id, error, infers=True)

    def _send_answer(self, content: list[bytes | memoryview]) -> None:
        """Those of one forward go together, so that the front wakes once for all of them."""
        if threading.get_ident() == self._forwarding:
            self._made_together += content
        else:
            self._writer.send(content)

    def _answer(self, message: Ask) -> None:
        if message.verb == "initial_weights":
            made = self._host.initial_weights(*codec.FRESH.validate_json(message.arguments))
            made.add_done_callback(partial(self._made, message.id))
            return
        if message.verb == "merge":
            merged = self._host.merge(*codec.MERGE.validate_json(message.arguments))
            merged.add_done_callback(partial(self._merged, message.id))
            return
        if message.verb == "close":
            closed = self._host.close(codec.reason_of(message.arguments))
            closed.add_done_callback(partial(self._reply, message.id, codec.NOTHING))
            return
        arguments, verb, result = self._asked[message.verb]
        verb(arguments.validate_json(message.arguments)).add_done_callback(partial(self._reply, message.id, result))

    def _hear(self, message: Tell) -> None:
        match message.verb:
            case "learn":
                versions = codec.VERSIONS.validate_json(message.arguments)
                self._versions |= {version.key: version for version in versions}
            case "forget":
                keys = codec.KEYS.validate_json(message.arguments)
                self._host.forget(keys)
                for key in keys:
                    self._versions.pop(key, None)
            case "share":
                self._host.share(codec.COUNT.validate_json(message.arguments))
            case "share_resident":
                self._host.share_resident(codec.SHARES.validate_json(message.arguments))
            case _:
                self._host.give_up(codec.reason_of(message.arguments))

    def _reply(self, id: int, result: TypeAdapter[Any], future: Future[Any]) -> None:
        try:
            self._writer.send(frame(codec.encode(Reply(id, result.dump_json(future.result()), [], []))))
        except BaseException as error:  # as above
            self._fail(id, error)

    def _made(self, id: int, future: Future[Tensors]) -> None:
        try:
            self._send_tensors(id, b"", future.result())
        except BaseException as error:  # as above
            self._fail(id, error)

    def _merged(self, id: int, future: Future[Merged]) -> None:
        try:
            merged = future.result()
            self._send_tensors(id, codec.MERGED.dump_json((merged.config, merged.warnings)), merged.tensors)
        except BaseException as error:  # as above
            self._fail(id, error)

    def _send_tensors(self, id: int, result: bytes, tensors: Tensors) -> None:
        heads = [head_of(tensor) for tensor in tensors.values()]
        self._writer.send(frame(codec.encode(Reply(id, result, list(tensors), heads)), list(tensors.values())))

    def _fail(self, id: int, error: BaseException, *, infers: bool = False) -> None:
        self._writer.send(frame(codec.encode(codec.failed_message(id, error, infers=infers))))

    def _watch(self, ids: tuple[int, ...] | None) -> None:
        """On the model's thread: around each forward, and around what else it does."""
        message = Idle() if ids is None else Working(list(ids))
        made, self._made_together = self._made_together, []
        self._forwarding = None if ids is None else threading.get_ident()
        self._writer.send([*made, *frame(codec.encode(message))])


def _spare_the_collector(_: Future[Any]) -> None:
    """What is there now stays until the process ends, so that collections needn't look through it."""
    gc.collect()
    gc.freeze()
