"""A call as a value: what is sent, and how its answer is read. Knows nothing of sockets, so both clients share it.

A plan is a verb of several calls: a generator that yields a call and is sent its result.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from service.client.errors import ClientError
from service.client.uploads import Watch

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

SAFETENSORS = "application/vnd.safetensors"
IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request. `repeatable`: sending it twice is the same as sending it once, so a broken connection is retried."""

    method: str
    path: str
    read: Callable[[httpx.Response], T_co]
    params: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, str | int | float | bool])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    json: Any = None
    content: bytes | Path | None = None
    """The body, or where it lies."""
    files: Mapping[str, tuple[str, bytes | Path]] | None = None
    form: Mapping[str, str] | None = None
    repeatable: bool = True
    timeout_s: float | None = None
    """How long the answer may take; None: the client's own time-out."""
    into: Path | None = None
    """Where the answer's body is written; `read` then gets the head alone."""
    watch: Watch | None = None
    """Called with how much of a file was sent or received."""


Plan: TypeAlias = Generator[Call[Any], Any, T]


class Send(Protocol):
    """Sends a call and returns its result."""

    def __call__(self, call: Call[T], /) -> T: ...


class SendAsync(Protocol):
    """As `Send`, for asyncio."""

    async def __call__(self, call: Call[T], /) -> T: ...


def follow(send: Send, plan: Plan[T]) -> T:
    """The result of a plan. What a call raises is raised inside the plan, which may handle it."""
    try:
        call = next(plan)
        while True:
            try:
                result = send(call)
            except ClientError as error:
                call = plan.throw(error)
            else:
                call = plan.send(result)
    except StopIteration as end:
        return end.value


async def follow_async(send: SendAsync, plan: Plan[T]) -> T:
    """As `follow`, for asyncio."""
    try:
        call = next(plan)
        while True:
            try:
                result = await send(call)
            except ClientError as error:
                call = plan.throw(error)
            else:
                call = plan.send(result)
    except StopIteration as end:
        return end.value


def path(*parts: str) -> str:
    """An address below the service's, each part escaped: `path("adapters", "tone")` is `/adapters/tone`."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def nothing(_: httpx.Response) -> None:
    """Reads an answer that has no content."""


def once() -> dict[str, str]:
    """The header that makes a creation repeatable: the service answers its repetition with the first answer."""
    return {IDEMPOTENCY_KEY: str(uuid4())}
