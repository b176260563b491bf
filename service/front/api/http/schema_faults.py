"""What pydantic finds wrong with a body, as faults at places in the body as it came, in words that lead on."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast, get_args

import pydantic
from pydantic_core import ErrorDetails

from models_registry.records import Fault, Location
from service.front.api.pydantic_words import in_words, is_of_type
from service.suggestions import did_you_mean, name_known

MOST_DESCRIBED = 10_000
"""Beyond these pydantic isn't asked for its list, which it writes in one go while nobody else is answered."""
_MOST_SUGGESTED = 20
"""Unknown fields: each is compared with every known one, and a hostile body has a hundred thousand."""


def schema_faults(
    error: pydantic.ValidationError, schema: type[pydantic.BaseModel], value: Any, under: Location
) -> tuple[tuple[Fault, ...], str | None]:
    """Every offending place of `value`, and a hint where a field's name may have been meant otherwise. Where there are
    more than `MOST_DESCRIBED`, their number and the unknown fields at the top."""
    if (count := error.error_count()) > MOST_DESCRIBED:
        names = value.keys() - schema.model_fields.keys() if isinstance(value, Mapping) else ()
        unknown = [Fault((*under, str(name)), "is not known here.") for name in islice(names, MOST_DESCRIBED)]
        return (Fault(under, f"has {count} wrong places, too many to list"), *unknown), None
    messages: dict[Location, list[str]] = {}
    hint, suggested = None, 0
    for found, place in _relevant(error, value):
        message = in_words(found)
        if found["type"] == "extra_forbidden":
            message, suggested = "is not known here", suggested + 1
            if suggested <= _MOST_SUGGESTED:
                known = _fields_at(schema, found["loc"])
                meant = did_you_mean(str(found["loc"][-1]), known)
                hint = hint or meant
                message = f"is not known here. {meant or name_known(known)}"
        messages.setdefault(place, []).append(message)
    return tuple(Fault((*under, *place), _joined(said)) for place, said in messages.items()), hint


def _relevant(error: pydantic.ValidationError, value: Any) -> Iterator[tuple[ErrorDetails, Location]]:
    """What is wrong, at its place in `value`. Of a union's branches those for values of another type are left out where
    there is one for this value's."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    found = [(one, tuple(_places(one, value))) for one in details]
    inside = {place[:length] for _, place in found for length in range(len(place))}
    inside |= {place for one, place in found if not is_of_type(one)}
    return ((one, place) for one, place in found if place not in inside or not is_of_type(one))


def _joined(messages: Sequence[str]) -> str:
    """`Input should be a valid string, or a list`: what several branches of a union say of one value."""
    first, *others = dict.fromkeys(messages)
    return ", or ".join([first, *(other.removeprefix("Input should be ") for other in others)])


def _places(error: ErrorDetails, value: Any) -> Iterator[str | int]:
    """Where the error is, without the names of unions' branches, which are no places in the input."""
    for step in error["loc"]:
        if (isinstance(value, Mapping) and step in value) or (isinstance(value, list) and isinstance(step, int)):
            value = cast(Any, value)[step]
        elif error["type"] != "missing" or step != error["loc"][-1]:
            continue
        yield step


def _fields_at(schema: type[pydantic.BaseModel], loc: Location) -> list[str]:
    """The fields that the object could have in which the last step of `loc` stands."""
    models = [schema]
    for step in loc[:-1]:
        fields = [model.model_fields[str(step)] for model in models if step in model.model_fields]
        if fields:  # else it is the name of a branch, of which all are in `models`
            models = [model for field in fields for model in _models_in(field.annotation)]
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
