"""Requests that once cost everybody else something, each with the statuses that refuse it."""

import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

MODEL: Final = "minilm"
INFER: Final = f"/models/{MODEL}/infer"
CREATE: Final = f"/models/{MODEL}/adapters"
JSON: Final = {"Content-Type": "application/json"}
PATIENCE_S: Final = 120.0

CLOSED: Final = 0
"""Instead of a status: the service closed the connection while the request was still being sent."""


@dataclass(frozen=True, slots=True)
class Attack:
    """`send` takes the service's address and returns the answer's status, or `CLOSED`."""

    name: str
    send: Callable[[str], int]
    refusals: frozenset[int]

    def __str__(self) -> str:
        return self.name


def post(path: str, body: bytes, headers: Mapping[str, str] = JSON) -> Callable[[str], int]:
    """Sends `body` as it stands."""

    def send(address: str) -> int:
        try:
            return httpx.post(address + path, content=body, headers=dict(headers), timeout=PATIENCE_S).status_code
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            return CLOSED

    return send


def raw(message: Callable[[], bytes]) -> Callable[[str], int]:
    """Sends bytes that no HTTP client would."""

    def send(address: str) -> int:
        where = urlsplit(address)
        with socket.create_connection((where.hostname, where.port), timeout=PATIENCE_S) as connection:
            # Refused before all of it was sent, the answer may still be there.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(message())
            try:
                answer = connection.recv(65536)
            except ConnectionResetError:
                return CLOSED
        return int(answer.split(b" ", 2)[1]) if answer else CLOSED

    return send


def infer(**body: Any) -> Callable[[str], int]:
    return post(INFER, json.dumps(body).encode())


def create(**config: Any) -> Callable[[str], int]:
    body = {"name": "hostile", "config": {"peft_type": "LORA", "target_modules": ["query"], **config}}
    return post(CREATE, json.dumps(body).encode())


def head(*lines: str) -> bytes:
    return "\r\n".join([f"POST {INFER} HTTP/1.1", "Host: hostile", *lines, "", ""]).encode()


def form(parts: int) -> Callable[[str], int]:
    part = b'--edge\r\nContent-Disposition: form-data; name="%d"\r\n\r\nx\r\n'
    body = b"".join(part % number for number in range(parts)) + b"--edge--\r\n"
    return post(CREATE, body, {"Content-Type": "multipart/form-data; boundary=edge"})


WRONG: Final = frozenset({400, 422})
LARGE: Final = frozenset({400, 413, 422, CLOSED})
ATTACKS: Final = (
    Attack(
        "a Content-Type with 200,000 semicolons",
        raw(lambda: head("Content-Type: a/b" + ";" * 200_000)),
        frozenset({431, CLOSED}),
    ),
    Attack("a header of 96 MB", raw(lambda: head("X-Long: " + "a" * 96_000_000)), frozenset({431, CLOSED})),
    Attack("100,000 headers", raw(lambda: head(*(f"X-{n}: 1" for n in range(100_000)))), frozenset({431, CLOSED})),
    Attack(
        "an address of 1 MB",
        raw(lambda: b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n"),
        frozenset({414, 431, CLOSED}),
    ),
    Attack("30 MB of empty lists", post(INFER, b'{"inputs": {"x": [' + b"[]," * 10_000_000 + b"[]]}}"), LARGE),
    Attack("12 MB of empty lists", post(INFER, b'{"inputs": {"x": [' + b"[]," * 4_000_000 + b"[]]}}"), LARGE),
    Attack("12 MB of numbers", post(INFER, b'{"inputs": {"x": [' + b"1.25," * 2_400_000 + b"1]}}"), LARGE),
    Attack("a JSON 100,000 lists deep", post(INFER, b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), WRONG),
    Attack("a form of 20,000 parts", form(20_000), LARGE),
    Attack("60,000 digits as an expression", create(target_modules="1" * 60_000), WRONG),
    Attack("an expression that repeats itself", create(target_modules="(?:(?:(?:.?){1000}){1000}){1000}"), WRONG),
    Attack("an expression that backtracks", create(target_modules=r"(a|a|[a-z.])*([a-z.]|[a-z])*(a|aa)+\d\d$"), WRONG),
    Attack(
        "1,000 layers_pattern entries",
        create(layers_pattern=[f"(?:l|[a-z]*)*{n}" for n in range(1_000)], layers_to_transform=[0]),
        WRONG,
    ),
    Attack(
        "5,000 rank_pattern expressions", create(rank_pattern={f"(?:[a-z]*|b)*{n}x": 1 for n in range(5_000)}), WRONG
    ),
    Attack("100,000 empty texts", infer(inputs={"text": [""] * 100_000}), LARGE),
    Attack("100,000 rows", infer(inputs={"input_ids": [[5, 6]] * 100_000}), LARGE),
    Attack("an adapter for each of 100,000 rows", infer(inputs={"text": ["a"]}, adapter=[None] * 100_000), LARGE),
    Attack("a text of 5 million characters", infer(inputs={"text": ["a " * 2_500_000]}), LARGE),
    Attack("an orthogonal start of rank 8,000", create(r=8_000, init_lora_weights="orthogonal"), WRONG),
    Attack("a rank of 10,000,000", create(r=10_000_000), WRONG),
)
