"""A client that costs little: raw sockets, one request at a time on each, bodies written beforehand."""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType


def request_head(path: str, length: int, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Of a POST of so many bytes of JSON."""
    known = {"Host": "bench", "Content-Type": "application/json", "Content-Length": str(length), **headers}
    return "".join([f"POST {path} HTTP/1.1\r\n", *(f"{k}: {v}\r\n" for k, v in known.items()), "\r\n"]).encode()


def get_message(path: str, headers: Mapping[str, str]) -> bytes:
    """A whole GET."""
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {"Host": "bench", **headers}.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def post_all(
    port: int,
    path: str,
    bodies: Sequence[bytes],
    connections: int,
    requests: int,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """`requests` posts of these bodies in turn. Raises `RuntimeError` for an answer other than 200."""
    messages = [request_head(path, len(body), headers) + body for body in bodies]
    asyncio.run(_post_all(port, messages, connections, requests))


async def _post_all(port: int, messages: Sequence[bytes], connections: int, requests: int) -> None:
    todo = iter(range(requests))

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for index in todo:
            writer.write(messages[index % len(messages)])
            await read_answer(reader)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(work() for _ in range(connections)))


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Raises `RuntimeError` for one other than 200."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, length = head.partition(b"content-length:")
    body = await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(body.decode())
