"""The protocol's bounds, over a socket of its own: what is refused before it is a request, and what still is one."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service import http_protocol
from service.http_protocol import ADDRESS_BYTES, HEAD_BYTES, HEADERS, PIPELINED, BoundedHttp

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body's length and the headers that it saw in the end; nothing where the caller has gone."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    seen = json.dumps([length, len(scope["headers"])]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(seen))]})
    await send({"type": "http.response.body", "body": seen})


def talk(*packets: bytes) -> bytes:
    """All that is answered to these packets by the time the connection closes."""

    async def exchange() -> bytes:
        config = uvicorn.Config(echo, log_config=None, ws="none", lifespan="off", timeout_keep_alive=1)
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(lambda: BoundedHttp(config, state, {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            for packet in packets:
                writer.write(packet)
                await writer.drain()
            return await reader.read()
        finally:
            writer.close()
            server.close()

    return asyncio.run(exchange())


def get(*headers: str, path: str = "/") -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: here", "Connection: close", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def refused(answer: bytes) -> tuple[int, str]:
    """Status and type of the one problem that is answered."""
    head, body = answer.split(b"\r\n\r\n")
    problem: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    assert b"content-type: application/problem+json" in head
    assert b"x-request-id: %s" % problem["request_id"].encode() in head
    return problem["status"], problem["type"]


@pytest.mark.parametrize(
    "packets",
    [
        [get("A: " + "a" * HEAD_BYTES)],
        [get(*["A: a"] * HEADERS)],
        [b"GET / HTTP/1.1\r\nA: ", *[b"a" * 40_000] * 20],
        [b"GET / HTTP/1.1\r\n", *[b"%0100d: a\r\n" % i for i in range(10_000)]],
    ],
    ids=["a long one", "many", "one without an end", "one after the other"],
)
def test_headers_that_are_too_many_or_too_large_are_431(packets: list[bytes]) -> None:
    assert refused(talk(*packets)) == (431, "headers-too-large")


@pytest.mark.parametrize(
    "packets", [[get(path="/" + "a" * ADDRESS_BYTES)], [b"GET /", *[b"a" * 20_000] * 20]], ids=["whole", "endless"]
)
def test_an_address_that_is_too_long_is_414(packets: list[bytes]) -> None:
    assert refused(talk(*packets)) == (414, "address-too-long")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno chunk",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"CONNECT host:1 HTTP/1.1\r\n\r\n",
        b"NONSENSE / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_a_problem_too(sent: bytes) -> None:
    assert refused(talk(sent)) == (400, "malformed")


def test_up_to_the_bounds_a_request_is_answered() -> None:
    answer = talk(get(*["A: a"] * 100, "B: " + "b" * (HEAD_BYTES - 2_000), path="/" + "a" * (ADDRESS_BYTES - 1)))
    assert answer.startswith(b"HTTP/1.1 200 ")


CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n"


def test_trailers_are_no_headers() -> None:
    assert talk(CHUNKED + b"Authorization: later\r\n\r\n").endswith(b"\r\n\r\n[3, 2]")


@pytest.mark.parametrize(
    "rest",
    [[b"A: ", *[b"a" * 40_000] * 20], [b"A: a\r\n" * 40_000]],
    ids=["a long one", "many"],
)
def test_trailers_are_bounded_as_headers_are(rest: list[bytes]) -> None:
    assert refused(talk(CHUNKED, *rest)) == (431, "headers-too-large")


def test_a_chunks_extension_is_bounded_as_headers_are() -> None:
    start = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;"
    assert refused(talk(start, *[b"a" * 40_000] * 20)) == (431, "headers-too-large")


def test_a_large_body_is_no_header() -> None:
    start = b"POST / HTTP/1.1\r\nContent-Length: 2000000\r\nConnection: close\r\n\r\n"
    assert talk(start, *[bytes(100_000)] * 20).endswith(b"\r\n\r\n[2000000, 2]")


def test_a_request_that_came_whole_is_answered_before_the_next_is_refused() -> None:
    first = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
    answer = talk(first + b"nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"\r\n"])
def test_who_sends_no_head_is_closed_in_time(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_S", 0.05)
    assert talk(start) == b""


def test_only_so_many_requests_wait_on_one_connection() -> None:
    one = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
    answers = talk(one * 100).split(b"HTTP/1.1 ")[1:]
    assert {answer[:6] for answer in answers} == {b"200 OK"}
    assert len(answers) == 1 + PIPELINED
