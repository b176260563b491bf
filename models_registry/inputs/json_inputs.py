"""Named inputs as JSON writes them, into tensors: what a caller sends and what a registration gives as an example.

Nothing here knows what a base model takes.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from models_registry.errors import Invalid
from models_registry.inputs.chats import decode_chats, decode_tools
from models_registry.inputs.json_arrays import DTYPES, JsonArray, Unreadable, json_type, read_array
from models_registry.inputs.values import PIXELS, Inputs
from models_registry.records import Fault

_DTYPES: Mapping[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}


def decode_inputs(raw: Mapping[str, Any], at: str = "inputs", *, floats: Collection[str] = ()) -> Inputs:
    """`{"text": [...]}`, `{"messages": [...]}` or named tensors, from JSON; `pixel_values` may stand beside text.

    Raises `Invalid` with every input that is wrong, and its row.

    `at` is where `raw` stands in what the caller sent, for the faults. Whole numbers of the inputs `floats` are read as
    float32. A tensor may have been read already.
    """
    if not raw:
        raise _invalid(
            [Fault((at,), "is empty: give named tensors, a list of strings as `text`, or of chats as `messages`")]
        )
    for name, beside in (("text", (PIXELS,)), ("messages", ("tools",))):
        if name in raw:
            _refuse_others(raw, name, beside, at)
    if "messages" in raw:
        tools = decode_tools(raw.get("tools", []), (at, "tools"))
        return Inputs(chats=decode_chats(raw["messages"], (at, "messages")), tools=tools)
    texts = _decode_texts(raw["text"], at) if "text" in raw else ()
    read = {
        name: value
        if isinstance(value, JsonArray | Unreadable)
        else read_array(value, floating=name in floats or bool(texts))
        for name, value in raw.items()
        if name != "text"
    }
    faults = [Fault((at, name, *a.at), a.message) for name, a in read.items() if isinstance(a, Unreadable)]
    if faults:
        raise _invalid(faults)
    tensors = {name: _tensor(array) for name, array in read.items() if isinstance(array, JsonArray)}
    return Inputs(tensors=tensors, texts=texts)


def whole_numbers(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The inputs that `decode_inputs` reads as int64 because JSON's numbers have no dtype of their own."""
    nested = {name: read_array(value) for name, value in raw.items() if name != "text" and isinstance(value, list)}
    return tuple(name for name, array in nested.items() if isinstance(array, JsonArray) and array.dtype == "int64")


def _refuse_others(raw: Mapping[str, Any], name: str, beside: Collection[str], at: str) -> None:
    others = sorted(raw.keys() - {name, *beside})
    if others:
        message = f"can't be mixed with `{name}`: send tensors, text or messages"
        raise _invalid([Fault((at, other), message) for other in others])


def _decode_texts(texts: Any, at: str) -> tuple[str, ...]:
    faults: list[Fault] = []
    if not isinstance(texts, list) or not texts:
        faults.append(Fault((at, "text"), 'must be a list of strings, one for each row: ["…"]'))
    else:
        faults += [
            Fault((at, "text", row), f"must be a string, not {json_type(text)}")
            for row, text in enumerate(texts)
            if not isinstance(text, str)
        ]
    if faults:
        raise _invalid(faults)
    return tuple(texts)


def _tensor(array: JsonArray) -> torch.Tensor:
    return torch.from_numpy(array.numbers).to(_DTYPES[array.dtype]).reshape(array.shape)


def _invalid(faults: Iterable[Fault]) -> Invalid:
    return Invalid("The inputs can't be read.", faults)
