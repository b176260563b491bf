"""The `input` of `/v1/responses` as the messages of a chat: a text, or items that say who said or called what."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models_registry.errors import Invalid
from models_registry.records import Fault, Location

AT: Location = ("input",)
# Of items that come from an answer, and without any influence on a text.
_IGNORED = frozenset({"type", "id", "status", "phase"})
_ITEMS = (
    "must be a message {role, content}, {type: function_call, call_id, name, arguments} or "
    "{type: function_call_output, call_id, output}"
)
_PARTS = "must be a string, or a list of {type: input_text, text} and {type: input_image, image_url}"


def read_input(given: str | Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[Location]]:
    """The messages, unchecked, and where in the body each one came from. Raises `Invalid`."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}], [AT]
    messages: list[dict[str, Any]] = []
    places: list[Location] = []
    faults: list[Fault] = []
    for place, item in enumerate(given):
        at = (*AT, place)
        try:
            message = _message(item, at)
        except Invalid as error:
            faults += error.faults
            continue
        if "tool_calls" in message and messages and messages[-1]["role"] == "assistant":
            messages[-1].setdefault("tool_calls", []).extend(message["tool_calls"])
        else:
            messages.append(message)
            places.append(at)
    if faults or not messages:
        raise Invalid("The input can't be read.", faults or [Fault(AT, "must have at least one item")])
    return messages, places


def _message(item: Mapping[str, Any], at: Location) -> dict[str, Any]:
    match item:
        case {"type": "function_call", "call_id": str() as id, "name": str() as name, "arguments": str() as arguments}:
            call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            return {"role": "assistant", "tool_calls": [call]}
        case {"type": "function_call_output", "call_id": str() as id, "output": output}:
            return {"role": "tool", "tool_call_id": id, "content": _content(output, (*at, "output"))}
        case {"role": str(), "content": content} if item.get("type", "message") == "message":
            others = {name: value for name, value in item.items() if name not in _IGNORED}
            return {**others, "content": _content(content, (*at, "content"))}
        case _:
            raise Invalid("An item can't be read.", [Fault(at, _ITEMS)])


def _content(content: Any, at: Location) -> str | list[dict[str, Any]]:
    match content:
        case str():
            return content
        case [*parts]:
            return _read_parts(parts, at)
        case _:
            raise Invalid("Content can't be read.", [Fault(at, _PARTS)])


def _read_parts(parts: Iterable[Any], at: Location) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = []
    faults: list[Fault] = []
    for place, part in enumerate(parts):
        match part:
            case {"type": "input_text" | "output_text", "text": str() as text} | {
                "type": "refusal",
                "refusal": str() as text,
            }:
                read.append({"type": "text", "text": text})
            case {"type": "input_image", "image_url": str() as url}:
                read.append({"type": "image_url", "image_url": {"url": url}})
            case _:
                faults.append(Fault((*at, place), _PARTS))
    if faults:
        raise Invalid("Content can't be read.", faults)
    return read
