"""Query parameters that a route doesn't know, or that are given twice, are refused: ignored, they would answer another
question than the caller asked."""

from collections import Counter
from collections.abc import Collection, Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from models_registry.records import Fault
from service.front.api.problems import MALFORMED, Refused
from service.suggestions import did_you_mean, name_known

MOST_NAMED = 20


async def require_known_query(request: Request) -> None:
    """A dependency of every route. Raises `Refused` (400) naming each parameter that is unknown or repeated."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = sorted(_names(route.dependant))
    given = Counter(name for name, _ in request.query_params.multi_items())
    unknown = [name for name in given if name not in known]
    faults = [
        *(Fault(("query", name), _unknown(name, known)) for name in unknown[:MOST_NAMED]),
        *(Fault(("query", name), "is given several times; give it once") for name in known if given[name] > 1),
    ]
    if faults:
        hint = did_you_mean(unknown[0], known) if unknown else None
        raise Refused(MALFORMED, "The query has parameters that can't be taken.", faults, hint=hint)


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _names(inner)


def _unknown(name: str, known: Collection[str]) -> str:
    return f"is not known here. {did_you_mean(name, known) or name_known(known)}"
