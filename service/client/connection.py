"""What both clients do alike at their connection: headers, how a call becomes a request, and what a failure is.

Files are read as they are sent, and written as they are received: neither is ever whole in memory.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import httpx

from service.client.calls import Call
from service.client.errors import OtherVersion, Unreachable
from service.client.uploads import SentBytes, SentFile, Watch

T = TypeVar("T")

_BLOCK = 1 << 16
"""Bytes."""


def headers_of(key: str | None) -> dict[str, str]:
    """The headers of every request."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


@contextmanager
def sent(http: httpx.Client, call: Call[Any]) -> Generator[httpx.Response]:
    """The answer to the call, of which only the head has been read."""
    with ExitStack() as files:
        answer = http.send(request_of(http, call, files), stream=True)
        try:
            yield answer
        finally:
            answer.close()


@asynccontextmanager
async def sent_async(http: httpx.AsyncClient, call: Call[Any]) -> AsyncGenerator[httpx.Response]:
    """As `sent`, for asyncio."""
    with ExitStack() as files:
        answer = await http.send(request_of(http, call, files), stream=True)
        try:
            yield answer
        finally:
            await answer.aclose()


def request_of(http: httpx.Client | httpx.AsyncClient, call: Call[Any], files: ExitStack) -> httpx.Request:
    """The call as a request; what it reads is closed with `files`."""

    def opened(body: bytes | Path) -> SentBytes | SentFile:
        return files.enter_context(
            SentFile(body, call.watch) if isinstance(body, Path) else SentBytes(body, call.watch)
        )

    headers = dict(call.headers)
    options: dict[str, Any] = {"params": dict(call.params), "headers": headers}
    if call.json is not None:
        options["json"] = call.json
    if call.content is not None:
        body = options["content"] = opened(call.content)
        if isinstance(http, httpx.AsyncClient):
            headers["Content-Length"] = str(body.bytes)
            options["content"] = _blocks(body)
    if call.files is not None:
        options["files"] = {part: (name, opened(body)) for part, (name, body) in call.files.items()}
        options["data"] = dict(call.form or {})
    if call.timeout_s is not None:
        options["timeout"] = call.timeout_s
    return http.build_request(call.method, call.path, **options)


def receive(answer: httpx.Response, into: Path, watch: Watch | None) -> None:
    """Write the answer's body into a file: all of it or nothing."""
    with _whole(into) as partial, partial.open("wb") as out:
        for block in answer.iter_bytes():
            out.write(block)
            _tell(answer, watch)


async def receive_async(answer: httpx.Response, into: Path, watch: Watch | None) -> None:
    """As `receive`, for asyncio."""
    with _whole(into) as partial, partial.open("wb") as out:
        async for block in answer.aiter_bytes():
            out.write(block)
            _tell(answer, watch)


def read_answer(call: Call[T], answer: httpx.Response) -> T:
    """Raises `OtherVersion` where it isn't what this client reads."""
    try:
        return call.read(answer)
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise OtherVersion(
            f"{answer.url.copy_with(query=None)} answered {call.method} in a form that this client, version "
            f"{version('adapter-service')}, doesn't read ({type(error).__name__}: {error}). Install the service's own "
            "version, which GET /version names."
        ) from error


def unreachable(url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    """The failure in words; names neither headers nor the key."""
    if isinstance(error, httpx.TimeoutException):
        return Unreachable(f"{url} gave no answer in time ({type(error).__name__}).")
    if isinstance(error, httpx.ConnectError):
        return Unreachable(f"Nothing answers at {url}: check the address, and that the service runs.")
    reason = str(error).rstrip(".") or type(error).__name__
    return Unreachable(f"The connection to {url} broke: {reason}.")


@contextmanager
def _whole(file: Path) -> Generator[Path]:
    partial = file.with_name(f".{file.name}.partial")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _tell(answer: httpx.Response, watch: Watch | None) -> None:
    if watch is not None:
        watch(answer.num_bytes_downloaded, int(answer.headers.get("Content-Length", 0)))


async def _blocks(file: SentBytes | SentFile) -> AsyncIterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
