"""Chats as JSON writes them: for each row a list of messages, as OpenAI's API has them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from models_registry.errors import Invalid
from models_registry.inputs.values import Chat
from models_registry.records import Fault, Location

ROLES = ("system", "user", "assistant", "developer", "tool")
WRITTEN = '[[{"role": "user", "content": "…"}]]'


def decode_chats(raw: Any, at: Location) -> tuple[Chat, ...]:
    """A list of chats, one a row; each is a list of messages with `role` and `content`. Raises `Invalid` naming every
    one that is wrong."""
    faults = list(_faults(raw, at))
    if faults:
        raise Invalid("The inputs can't be read.", faults)
    chats = cast(list[list[dict[str, Any]]], raw)
    return tuple(
        tuple({"role": str(m["role"]), "content": _joined(m["content"])} for m in messages) for messages in chats
    )


def _faults(raw: Any, at: Location) -> Iterator[Fault]:
    if not isinstance(raw, list) or not raw:
        yield Fault(at, f"must be a list of chats, one for each row: {WRITTEN}")
        return
    if all(isinstance(chat, dict) for chat in cast(list[Any], raw)):
        yield Fault(at, f"is one chat; put it into a list, which has one chat for each row: {WRITTEN}")
        return
    for row, chat in enumerate(cast(list[Any], raw)):
        if not isinstance(chat, list) or not chat:
            yield Fault((*at, row), 'must be a chat: a list of messages {"role": …, "content": …}, at least one')
            continue
        for place, message in enumerate(cast(list[Any], chat)):
            yield from _message_faults(message, (*at, row, place))


def _message_faults(message: Any, at: Location) -> Iterator[Fault]:
    if not isinstance(message, dict):
        yield Fault(at, 'must be a message: {"role": …, "content": …}')
        return
    given = cast(dict[str, Any], message)
    for name in given:
        if name not in ("role", "content"):
            yield Fault((*at, name), "is not read; a message has role and content")
    if given.get("role") not in ROLES:
        yield Fault((*at, "role"), f"must be one of {', '.join(ROLES)}")
    if not isinstance(given.get("content"), str) and not _is_text_parts(given.get("content")):
        yield Fault((*at, "content"), 'must be a string, or a list of {"type": "text", "text": …}')


def _is_text_parts(content: Any) -> bool:
    return isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in cast(list[Any], content)
    )


def _joined(content: str | Sequence[Mapping[str, str]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
