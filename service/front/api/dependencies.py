"""What endpoints are handed: the engine and the settings that app.py assembled, and the names in an address."""

import re
from collections.abc import AsyncGenerator
from typing import Annotated, cast

from fastapi import Depends, Header, Path, Query, Request
from pydantic import AfterValidator, BeforeValidator, Field

from models_registry.authors import because
from models_registry.references import NAME
from service.front.access.names import stored
from service.front.api.http.json_reader import JsonReader
from service.front.api.metrics.metrics import Metrics
from service.front.api.middleware.draining import Drain
from service.front.engine import Engine
from service.front.services.keys import Keys
from service.front.services.lora_directories import LoraDirectories
from service.front.services.teams import Teams
from service.front.services.usage import UsageReports
from service.settings import Settings

NAME_PATTERN = f"^{NAME.pattern}$"
WRITTEN_NAME = f"(?:{NAME.pattern}:)?{NAME.pattern}"


def _as_name(name: str) -> str:
    if NAME.fullmatch(name):
        return name
    meant = re.sub(r"[^A-Za-z0-9._-]+", "-", name[:128]).strip("._-")
    suggestion = f"; {meant!r} would do" if NAME.fullmatch(meant) else ""
    raise ValueError(f"must be 1 to 128 letters, digits, '.', '_' and '-', a letter or a digit first{suggestion}")


def _as_written_name(name: str) -> str:
    team, colon, own = name.rpartition(":")
    return f"{_as_name(team)}:{_as_name(own)}" if colon else _as_name(name)


Name = Annotated[str, AfterValidator(_as_name), Field(json_schema_extra={"pattern": NAME_PATTERN})]
WrittenName = Annotated[
    str, AfterValidator(_as_written_name), Field(json_schema_extra={"pattern": f"^{WRITTEN_NAME}$"})
]
"""An adapter's, another team's as `team:name`."""
ModelId = Annotated[str, Path(pattern=NAME_PATTERN, description="A base model's id.", examples=["smollm2"])]
AdapterName = Annotated[
    str,
    Path(
        pattern=f"^{WRITTEN_NAME}$",
        description="An adapter's name; another team's shared one is `team:name`.",
        examples=["pirate"],
    ),
    AfterValidator(stored),
]
"""What an endpoint gets is the name by which the registry keeps it."""

_NUMBER = re.compile(r"[1-9][0-9]*")


def _one_spelling(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise ValueError("must be a version's number: digits, the first of which is no zero")
    return text


# In lax mode pydantic reads `01`, `+1` and `1.0` too: further addresses of one thing, which no reference has.
VersionNumber = Annotated[int, Field(ge=1, lt=2**31), BeforeValidator(_one_spelling)]
PathVersion = Annotated[VersionNumber, Path(description="A version's number.", examples=[3])]

TIMEOUT = "X-Request-Timeout"
Timeout = Annotated[
    float | None,
    Header(
        alias=TIMEOUT,
        gt=0,
        allow_inf_nan=False,
        description="Seconds until its answer; then it is 504.",
        examples=[30],
    ),
]

ROUTING_KEY = "X-Routing-Key"
RoutingKey = Annotated[
    str | None,
    Header(
        alias=ROUTING_KEY,
        min_length=1,
        max_length=512,
        description="Of an alias that splits, requests with the same key get the same version; without, any.",
        examples=["user-4711"],
    ),
]


def engine_of(request: Request) -> Engine:
    return cast(Engine, request.app.state.engine)


def settings_of(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


def drain_of(request: Request) -> Drain:
    return cast(Drain, request.app.state.drain)


def metrics_of(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


def loras_of(request: Request) -> LoraDirectories:
    return cast(LoraDirectories, request.app.state.loras)


def json_reader_of(request: Request) -> JsonReader:
    return cast(JsonReader, request.app.state.json_reader)


# Coroutines, though they await nothing: FastAPI would send plain functions to a thread and back, for each request.


async def _engine(request: Request) -> Engine:
    return engine_of(request)


async def _settings(request: Request) -> Settings:
    return settings_of(request)


async def _metrics(request: Request) -> Metrics:
    return metrics_of(request)


async def _drain(request: Request) -> Drain:
    return drain_of(request)


async def _usage(request: Request) -> UsageReports:
    return cast(UsageReports, request.app.state.usage)


async def _keys(request: Request) -> Keys:
    return cast(Keys, request.app.state.keys)


async def _teams(request: Request) -> Teams:
    return cast(Teams, request.app.state.teams)


async def _reason(
    reason: Annotated[
        str | None, Query(max_length=1000, description="Why; it stands in the event.", examples=["better on dialogues"])
    ] = None,
) -> AsyncGenerator[None]:
    with because(reason):
        yield


Reason = Depends(_reason)
"""Of a route that changes something: `?reason=` stands in its events."""
TheDrain = Annotated[Drain, Depends(_drain)]
TheEngine = Annotated[Engine, Depends(_engine)]
TheSettings = Annotated[Settings, Depends(_settings)]
TheKeys = Annotated[Keys, Depends(_keys)]
TheTeams = Annotated[Teams, Depends(_teams)]
TheUsage = Annotated[UsageReports, Depends(_usage)]
TheMetrics = Annotated[Metrics, Depends(_metrics)]
