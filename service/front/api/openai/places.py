"""Where what is wrong stands in a body of OpenAI's, rather than in what we make of it."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from models_registry.errors import Invalid
from models_registry.records import Fault, Location


@dataclass(frozen=True, slots=True)
class Places:
    """Texts came from the field `texts`: `repeats` rows for each of its entries, or for it as a whole where it
    `is_list` doesn't hold. `parameters` are their names for ours, `fields` those of what stands elsewhere than in a
    chat's body; `messages` says where each message of the chat came from, where that is no field `messages`."""

    texts: str
    is_list: bool = False
    repeats: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    messages: Sequence[Location] = ()
    without_outputs: str = ""
    """What is said of a model that doesn't give what this API asks it for."""

    @contextmanager
    def named(self) -> Generator[None]:
        """Faults found inside are reported at their place in the caller's body."""
        try:
            yield
        except Invalid as error:
            if self.without_outputs and error.faults and error.faults[0].loc[:1] == ("outputs",):
                raise type(error)(self.without_outputs, [Fault(("model",), self.without_outputs)]) from error
            faults = [Fault(self._their(fault.loc), fault.message) for fault in error.faults]
            raise type(error)(error.detail, faults, hint=error.hint) from error

    def _their(self, loc: Location) -> Location:
        match loc:
            case ("parameters", str() as name, *rest):
                return (self.parameters.get(name, name), *rest)
            case ("parameters",) | ("outputs", *_):
                return ("model",)
            case ("inputs", *rest):
                return self._of_input(tuple(rest))
            case ("chat",):
                return (self.texts,)
            case (str() as name, *rest):
                return (self.fields.get(name, name), *rest)
            case _:
                return loc

    def _of_input(self, loc: Location) -> Location:
        match loc:
            case ("tools", *_):
                return loc
            case ("messages", int(), int() as place, *rest):
                return (*(self.messages[place] if self.messages else ("messages", place)), *rest)
            case (_, int() as row, *_) if self.is_list:
                return (self.texts, row // self.repeats)
            case _:
                return (self.texts,)
