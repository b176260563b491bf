"""Values of the protocol into messages and back. No pickle: both sides know every type by its name and its fields."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import Any, Final

import msgspec
from pydantic import ConfigDict, TypeAdapter
from torch import Tensor

from models_registry import errors
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import AdapterVersion, Fault
from service.protocol.frames import head_of, read_tensors
from service.protocol.messages import Answered, Failed, FromFront, FromHost, Infer
from service.protocol.types import (
    BuildOrder,
    Built,
    FreshWeights,
    HostAnswer,
    HostStatus,
    InferCall,
    MergeOrder,
    ModelProfile,
    Part,
    Selection,
)

encode: Final = msgspec.msgpack.Encoder().encode
decode_from_front: Final = msgspec.msgpack.Decoder(FromFront).decode
decode_from_host: Final = msgspec.msgpack.Decoder(FromHost).decode

_decode_failed: Final = msgspec.msgpack.Decoder(Failed).decode

CANCELLED: Final = "CancelledError"

_WITH_INFINITY: Final = ConfigDict(ser_json_inf_nan="constants")
"""What callers sent arrives as it is. pydantic would write null, and takes no settings for a dataclass by itself."""
BUILD_ORDER: Final = TypeAdapter(tuple[BuildOrder], config=_WITH_INFINITY)
BUILT: Final = TypeAdapter(Built)
PROFILE: Final = TypeAdapter(ModelProfile)
STATUS: Final = TypeAdapter(HostStatus)
VERSIONS: Final = TypeAdapter(tuple[AdapterVersion, ...], config=_WITH_INFINITY)
FRESH: Final = TypeAdapter(tuple[int, FreshWeights], config=_WITH_INFINITY)
# A weight that isn't finite is refused by the merge, which lists everything that is wrong.
MERGE: Final = TypeAdapter(tuple[int, MergeOrder], config=ConfigDict(ser_json_inf_nan="constants"))
MERGED: Final = TypeAdapter(tuple[Mapping[str, Any], tuple[str, ...]])
KEYS: Final = TypeAdapter(tuple[str, ...])
PINNED: Final = TypeAdapter(tuple[AdapterVersion, bool], config=_WITH_INFINITY)
FREED: Final = TypeAdapter(bool)
COUNT: Final = TypeAdapter(int)
SHARES: Final = TypeAdapter(dict[str, float])
NOTHING: Final[TypeAdapter[None]] = TypeAdapter(None)


# ---- inference --------------------------------------------------------------------------------------------------


def infer_message(id: int, call: InferCall, selections: tuple[Selection, ...], streams: bool = False) -> Infer:
    """Its tensors follow in the payload, in the order of `call.inputs.tensors`."""
    inputs = call.inputs
    return Infer(
        id=id,
        selections=[[(part.key, part.weight) for part in selection.parts] for selection in selections],
        composed=[selection.composed for selection in selections],
        names=list(inputs.tensors),
        tensors=[head_of(tensor) for tensor in inputs.tensors.values()],
        texts=list(inputs.texts),
        tokens=list(inputs.tokens),
        chats=_json([[dict(message) for message in chat] for chat in inputs.chats]) if inputs.chats else b"",
        tools=_json([dict(tool) for tool in inputs.tools]) if inputs.tools else b"",
        parameters=b"" if call.parameters is None else _json(dict(call.parameters)),
        outputs=None if call.outputs is None else list(call.outputs),
        chat=call.chat,
        per_row=call.per_row,
        remaining_s=call.remaining_s,
        alone=call.alone,
        team=call.team,
        streams=streams,
    )


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()  # whatever JSON may hold: also numbers beyond 64 bits, which orjson refuses


def infer_call(message: Infer, payload: bytearray) -> InferCall:
    inputs = Inputs(
        tensors=dict(zip(message.names, read_tensors(message.tensors, payload), strict=True)),
        texts=tuple(message.texts),
        tokens=tuple(message.tokens),
        chats=tuple(map(tuple, json.loads(message.chats))) if message.chats else (),
        tools=tuple(json.loads(message.tools)) if message.tools else (),
    )
    return InferCall(
        inputs,
        outputs=None if message.outputs is None else tuple(message.outputs),
        parameters=json.loads(message.parameters) if message.parameters else None,
        chat=message.chat,
        per_row=message.per_row,
        remaining_s=message.remaining_s,
        alone=message.alone,
        team=message.team,
    )


def selections_of(message: Infer, versions: Mapping[str, AdapterVersion]) -> tuple[Selection, ...]:
    """With the versions that the host has learnt before."""
    return tuple(
        Selection(tuple(Part(versions[key], key, weight) for key, weight in parts), composed)
        for parts, composed in zip(message.selections, message.composed, strict=True)
    )


def answered_message(id: int, asked: tuple[Selection, ...], answer: HostAnswer) -> tuple[Answered, list[Tensor]]:
    """With the payload's tensors."""
    place = {selection: index for index, selection in enumerate(dict.fromkeys(asked))}
    tensors = [value for value in answer.outputs.values() if isinstance(value, Tensor)]
    words = {name: list(value) for name, value in answer.outputs.items() if not isinstance(value, Tensor)}
    message = Answered(
        id=id,
        rows=[place[selection] for selection in answer.selections],
        outputs=list(answer.outputs),
        words=words,
        tensors=[head_of(tensor) for tensor in tensors],
        queue_ms=answer.queue_ms,
        load_ms=answer.load_ms,
        forward_ms=answer.forward_ms,
        texts=list(answer.texts),
        used=list(answer.used),
    )
    return message, tensors


def host_answer(message: Answered, asked: tuple[Selection, ...], payload: bytearray) -> HostAnswer:
    distinct = tuple(dict.fromkeys(asked))
    tensors = iter(read_tensors(message.tensors, payload))
    outputs: dict[str, OutputValue] = {
        name: tuple(message.words[name]) if name in message.words else next(tensors) for name in message.outputs
    }
    return HostAnswer(
        selections=tuple(distinct[index] for index in message.rows),
        outputs=outputs,
        queue_ms=message.queue_ms,
        load_ms=message.load_ms,
        forward_ms=message.forward_ms,
        texts=tuple(message.texts),
        used=tuple(message.used),
    )


# ---- errors -----------------------------------------------------------------------------------------------------


def failed_message(id: int, error: BaseException, *, infers: bool = False) -> Failed:
    """Of the error tree by name and fields; of anything else, what it says."""
    if isinstance(error, CancelledError):
        return Failed(id, infers, CANCELLED, "", None, [], "")
    if not isinstance(error, errors.RegistryError):
        detail = str(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"
        return Failed(id, infers, "RuntimeError", _sendable(detail), None, [], "")
    known = next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
    faults = error.faults if isinstance(error, errors.Invalid) else ()
    listed: list[tuple[list[str | int], str]] = [
        ([_sendable(step) if isinstance(step, str) else step for step in fault.loc], _sendable(fault.message))
        for fault in faults
    ]
    if isinstance(error, errors.Damaged):
        return Failed(id, infers, known, error.found, error.hint, listed, error.digest)
    hint = None if error.hint is None else _sendable(error.hint)
    return Failed(id, infers, known, _sendable(error.detail), hint, listed, "")


def _sendable(words: str) -> str:
    """A factory's may hold half a character, as the name of a file does that isn't UTF-8."""
    return words.encode(errors="backslashreplace").decode()


def reason_bytes(reason: errors.RegistryError) -> bytes:
    """An error as an argument of a verb."""
    return encode(failed_message(0, reason))


def reason_of(content: bytes) -> errors.RegistryError:
    """The error that `reason_bytes` was given."""
    error = error_of(_decode_failed(content))
    return error if isinstance(error, errors.RegistryError) else errors.Unavailable(str(error))


def error_of(message: Failed) -> Exception:
    """The error that `failed_message` was given."""
    if message.error == CANCELLED:
        return CancelledError()
    cls: Any = getattr(errors, message.error, RuntimeError)
    if cls is errors.Damaged:
        return errors.Damaged(message.digest, message.detail)
    if cls is RuntimeError:
        return RuntimeError(message.detail)
    if issubclass(cls, errors.Invalid):
        faults = [Fault(tuple(loc), text) for loc, text in message.faults]
        return cls(message.detail, faults, hint=message.hint)
    make: Callable[..., Exception] = cls
    return make(message.detail, hint=message.hint)
