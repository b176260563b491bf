"""How the calls in a text are found and read, in each form that a model may write them in."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol
from uuid import uuid4

from models_registry.call_forms import MARKS, CallForm
from service.front.api.openai.tools import FunctionCall, ToolCall

_JSON: Final = json.JSONDecoder()


class CallGrammar(Protocol):
    """Calls stand at the end of a text: nothing behind the first one's beginning is anything else."""

    def free(self, text: str, *, is_beginning: bool) -> int:
        """How many characters of the `text`, with which all of it begins or not, stand before what may become a
        call."""
        ...

    def read(self, text: str) -> list[ToolCall]:
        """What a text that is `free` up to here calls. Raises `ValueError` where any of it can't be read."""
        ...

    def required(self, text: str) -> ToolCall:
        """The call that a text was held to be, which is JSON of one. Raises `ValueError`."""
        ...


class _Marked:
    """Calls begin with one mark, wherever it stands."""

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def free(self, text: str, *, is_beginning: bool) -> int:
        begin = text.find(self._mark)
        if begin >= 0:
            return begin
        lengths = range(min(len(self._mark) - 1, len(text)), 0, -1)
        return len(text) - next((length for length in lengths if text.endswith(self._mark[:length])), 0)

    def required(self, text: str) -> ToolCall:
        return self._call(json.loads(text))

    def _new_id(self) -> str:
        return f"call_{uuid4().hex[:24]}"

    def _call(self, given: Any) -> ToolCall:
        """Of an object with a `name`, and `arguments` or `parameters`."""
        match given:
            case {"name": str() as name}:
                pass
            case _:
                raise ValueError("is no call")
        arguments = given.get("arguments", given.get("parameters", {}))
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        function = FunctionCall(name=name, arguments=written)
        return ToolCall(id=self._new_id(), type="function", function=function)


class _Hermes(_Marked):
    def __init__(self) -> None:
        begin, self._end = MARKS["hermes"]
        super().__init__(begin)

    def read(self, text: str) -> list[ToolCall]:
        return [self._call(json.loads(part.partition(self._end)[0])) for part in text.split(self._mark)[1:]]


class _Llama(_Marked):
    """Where it calls, its whole text is calls, with a mark before them or without; `;` may stand between them."""

    def __init__(self) -> None:
        super().__init__(*MARKS["llama"])

    def free(self, text: str, *, is_beginning: bool) -> int:
        if is_beginning and text.lstrip()[:1] in ("", "{"):
            return 0
        return super().free(text, is_beginning=is_beginning)

    def read(self, text: str) -> list[ToolCall]:
        return [self._call(value) for value in _values(text.strip().removeprefix(self._mark))]


class _Mistral(_Marked):
    """A list behind one mark, or a mark, a name and arguments for each call."""

    def __init__(self) -> None:
        begin, self._id, self._arguments = MARKS["mistral"]
        super().__init__(begin)

    def _new_id(self) -> str:
        """Its chat templates take no other ones."""
        return uuid4().hex[:9]

    def read(self, text: str) -> list[ToolCall]:
        return [call for part in text.split(self._mark)[1:] for call in self._calls(part.strip())]

    def _calls(self, part: str) -> Iterator[ToolCall]:
        if part.startswith("["):
            yield from map(self._call, json.loads(part))
        else:
            name, mark, arguments = part.partition(self._arguments)
            if not mark:
                raise ValueError("has no arguments")
            yield self._call({"name": name.partition(self._id)[0].strip(), "arguments": json.loads(arguments)})


def _values(text: str) -> Iterator[Any]:
    while text := text.lstrip(" \n;"):
        value, end = _JSON.raw_decode(text)
        yield value
        text = text[end:]


GRAMMARS: Final[Mapping[CallForm, CallGrammar]] = {"hermes": _Hermes(), "llama": _Llama(), "mistral": _Mistral()}
