"""Chats as JSON writes them, in OpenAI's form: for each row a list of messages, and the tools that they may call."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from models_registry.errors import Invalid
from models_registry.inputs.values import Chat
from models_registry.records import Fault, Location

ROLES = ("system", "user", "assistant", "developer", "tool")
FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id")
IMAGE_PREFIXES = ("data:image/png;base64,", "data:image/jpeg;base64,")
PARTS = '{"type": "text", "text": …} or {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}'
WRITTEN = '[[{"role": "user", "content": "…"}]]'


def decode_chats(raw: Any, at: Location) -> tuple[Chat, ...]:
    """A list of chats, one a row; each is a list of messages with `role` and `content`. Raises `Invalid` naming every
    one that is wrong."""
    faults = list(_faults(raw, at))
    if faults:
        raise Invalid("The inputs can't be read.", faults)
    chats = cast(list[list[dict[str, Any]]], raw)
    return tuple(tuple(map(_message, messages)) for messages in chats)


def decode_tools(raw: Any, at: Location) -> tuple[Mapping[str, Any], ...]:
    """A list of `{"type": "function", "function": {"name", "description", "parameters"}}`. Raises `Invalid`."""
    if not isinstance(raw, list):
        raise Invalid("The inputs can't be read.", [Fault(at, "must be a list of tools")])
    tools = cast(list[Any], raw)
    faults = [
        Fault((*at, place), 'must be a tool: {"type": "function", "function": {"name": "…", "parameters": {…}}}')
        for place, tool in enumerate(tools)
        if not isinstance(tool, dict) or not _is_function(cast(dict[str, Any], tool).get("function"))
    ]
    if faults:
        raise Invalid("The inputs can't be read.", faults)
    return tuple(tools)


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
    given = _present(cast(dict[str, Any], message))
    for name in given:
        if name not in FIELDS:
            yield Fault((*at, name), f"is not read; a message has {', '.join(FIELDS)}")
    if given.get("role") not in ROLES:
        yield Fault((*at, "role"), f"must be one of {', '.join(ROLES)}")
    content = given.get("content", "" if "tool_calls" in given else None)
    yield from _content_faults(content, (*at, "content"))
    for name in ("name", "tool_call_id"):
        if not isinstance(given.get(name, ""), str):
            yield Fault((*at, name), "must be a string")
    calls = given.get("tool_calls", [])
    if not isinstance(calls, list) or not all(map(_is_call, cast(list[Any], calls))):
        yield Fault(
            (*at, "tool_calls"), 'must be a list of {"id": "…", "function": {"name": "…", "arguments": "<JSON>"}}'
        )


def _present(message: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is null: clients send an answer's message back as they got it."""
    return {name: value for name, value in message.items() if value is not None}


def _message(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    given = _present(raw)
    message = {**given, "content": _joined(given.get("content", ""))}
    if calls := given.get("tool_calls"):
        message["tool_calls"] = [_call(call) for call in calls]
    else:
        message.pop("tool_calls", None)
    return message


def _call(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """With arguments as templates take them: values, rather than a string of JSON."""
    function = raw["function"]
    return {**raw, "function": {**function, "arguments": _arguments(function.get("arguments", {}))}}


def _arguments(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return given  # a model wrote it: the template shows it as it is


def _is_call(call: Any) -> bool:
    return isinstance(call, dict) and _is_function(cast(dict[str, Any], call).get("function"))


def _is_function(function: Any) -> bool:
    return isinstance(function, dict) and isinstance(cast(dict[str, Any], function).get("name"), str)


def _content_faults(content: Any, at: Location) -> Iterator[Fault]:
    if isinstance(content, list):
        for place, part in enumerate(cast(list[Any], content)):
            yield from _part_faults(part, (*at, place))
    elif not isinstance(content, str):
        yield Fault(at, f"must be a string, or a list of {PARTS}")


def _part_faults(part: Any, at: Location) -> Iterator[Fault]:
    match part:
        case {"type": "text", "text": str()}:
            return
        case {"type": "image_url", "image_url": {"url": str() as url}}:
            if not url.startswith(IMAGE_PREFIXES):
                message = "is fetched from nowhere: send the image itself, as data:image/png;base64,… or image/jpeg"
                yield Fault((*at, "image_url", "url"), message)
        case _:
            yield Fault(at, f"must be {PARTS}")


def _joined(content: str | Sequence[Mapping[str, Any]]) -> str | list[Mapping[str, Any]]:
    """Text alone is a string."""
    if isinstance(content, str):
        return content
    if all(part["type"] == "text" for part in content):
        return "".join(part["text"] for part in content)
    return list(content)
