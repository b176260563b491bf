"""The heads of the frames: what is asked of a host, and what it says. Inference has forms of its own, because it is
asked most; the other verbs carry their arguments and results as JSON."""

import msgspec

from service.protocol.frames import TensorHead
from service.protocol.texts import TextPart, WrittenText
from service.protocol.types import Used

# ---- to the host ------------------------------------------------------------------------------------------------


class Ask(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A verb whose future waits for a `Reply` or a `Failed` of the same id."""

    id: int
    verb: str
    arguments: bytes


class Tell(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A verb without an answer."""

    verb: str
    arguments: bytes


class Infer(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """`selections` are the parts (key, weight) of each; `composed` those that are compositions. `names` are those of
    the tensors in the payload; `parameters`, `chats` and `tools` are JSON. `Written` follows if it `streams`."""

    id: int
    selections: list[list[tuple[str, float]]]
    composed: list[bool]
    names: list[str]
    tensors: list[TensorHead]
    texts: list[str]
    tokens: list[tuple[int, ...]]
    chats: bytes
    tools: bytes
    parameters: bytes
    outputs: list[str] | None
    chat: bool | None
    per_row: bool
    remaining_s: float | None
    alone: bool
    team: str
    streams: bool


class Cancel(msgspec.Struct, frozen=True, tag=True, array_like=True):
    id: int


FromFront = Ask | Tell | Infer | Cancel


# ---- to the front -----------------------------------------------------------------------------------------------


class Reply(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The result of a verb, as JSON; `names` are those of the tensors in the payload."""

    id: int
    result: bytes
    names: list[str]
    tensors: list[TensorHead]


class Answered(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """`rows` says for each row which of the request's distinct selections made it. `outputs` are all names in their
    order; those that are in `words` are lists of words, the others are the payload's tensors."""

    id: int
    rows: list[int]
    outputs: list[str]
    words: dict[str, list[str]]
    tensors: list[TensorHead]
    queue_ms: float
    load_ms: float
    forward_ms: float
    texts: list[WrittenText]
    used: list[Used]


class Written(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A part of a text of the inference `id`."""

    id: int
    part: TextPart


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """`error` is the name of a class of `models_registry.errors`, or `RuntimeError`. `infers`: the id is one of
    the inferences, which are numbered apart."""

    id: int
    infers: bool
    error: str
    detail: str
    hint: str | None
    faults: list[tuple[list[str | int], str]]
    digest: str


class Working(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The model's thread begins a forward for these requests, or something else for none of them."""

    ids: list[int]


class Idle(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The model's thread has finished what it began."""


FromHost = Reply | Answered | Written | Failed | Working | Idle
