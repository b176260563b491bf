"""What a request needs of a replica, read from the frame that a front sends."""

from service.cluster.warmth import Need
from service.protocol import codec
from service.protocol.frames import split_frame
from service.protocol.messages import Infer

BEGINNINGS = (256, 1024, 4096)
"""Prompts are compared by so many characters of theirs."""


def need_of(content: bytes) -> Need:
    """Of a frame of `Infer`. Versions are named by their references."""
    message = codec.decode_from_front(split_frame(content)[0])
    assert isinstance(message, Infer), "nothing else is routed by warmth"
    references = dict.fromkeys(reference_in(key) for parts in message.selections for key, _ in parts)
    rows = max(len(message.selections), len(message.texts), len(message.tokens), 1)
    if message.tensors and message.tensors[0].shape:
        rows = max(rows, message.tensors[0].shape[0])
    return Need(tuple(references), rows, _prefixes(message, " ".join(references)))


def reference_in(key: str) -> str:
    """The reference that a version's key begins with."""
    return key.partition(" ")[0]


def _prefixes(message: Infer, references: str) -> tuple[str, ...]:
    """Only where texts are continued: of the first one, with the adapters that it is computed with."""
    prompt: str | bytes = message.texts[0] if message.texts else message.chats
    if not message.parameters:
        return ()
    return tuple(f"{references} {size} {hash(prompt[:size])}" for size in BEGINNINGS if len(prompt) >= size)
