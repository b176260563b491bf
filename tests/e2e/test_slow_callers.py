"""Callers who are slow, over raw sockets: others are answered while they are in the middle, and nothing piles up."""

import hashlib
import json
import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from e2e.process import Service, until

RANK = 500_000
STATE_BYTES = 12 * RANK * 4
LORA = {"peft_type": "LORA", "r": RANK, "target_modules": ["first"]}
ROWS = {"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}}
MANY = 48
"""More than the threads that a request could wait in."""

MIB = 1 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("slow")
    service = Service(directory, directory / "models")
    (directory / "temporary").mkdir()
    service.environment["TMPDIR"] = str(directory / "temporary")
    try:
        service.start_preloaded().wait_until_ready()
        service.register("mlp", {"kind": "python", "factory": "bases:mlp", "kwargs": {}})
        body = {"name": "large", "config": LORA}
        service.http.post("/models/mlp/adapters", json=body).raise_for_status()
        yield service
    finally:
        service.close()


@contextmanager
def callers(service: Service, number: int) -> Generator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", service.port))) for _ in range(number)]


def post(path: str, media_type: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: e2e\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n".encode()
    )


def require_others_are_answered(service: Service) -> None:
    answers = [
        service.http.post("/models/mlp/infer", json=ROWS),
        service.http.get("/adapters/large"),
        service.http.get("/adapters/large/state", headers={"Range": "bytes=0-99"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 206]


def own_memory(service: Service) -> int:
    """Bytes of the process that no file holds."""
    memory = psutil.Process(service.pid).memory_info()
    return memory.rss - memory.shared


def unnamed_files(process: psutil.Process) -> int:
    """Temporary files and connections that are open; not the database's files, of which a pool opens more and more."""
    named = len(process.open_files())
    return process.num_fds() - named


def test_who_only_connects_costs_nobody_anything(service: Service) -> None:
    with callers(service, 300):
        require_others_are_answered(service)


def test_bodies_that_come_byte_by_byte_hold_nobody_up(service: Service) -> None:
    body = json.dumps(ROWS).encode()
    with callers(service, MANY) as slow:
        for caller in slow:
            caller.sendall(post("/models/mlp/infer", "application/json", len(body)))
        for byte in range(len(body) - 1):
            for caller in slow:
                caller.sendall(body[byte : byte + 1])
            if byte == len(body) // 2:
                require_others_are_answered(service)
        for caller in slow:
            caller.sendall(body[-1:])
        assert all(caller.recv(100).startswith(b"HTTP/1.1 200 OK") for caller in slow)


def test_states_that_are_read_slowly_hold_nobody_up_and_no_memory(service: Service) -> None:
    require_others_are_answered(service)
    before = own_memory(service)
    with callers(service, MANY) as slow:
        for caller in slow:
            caller.sendall(b"GET /adapters/large/state HTTP/1.1\r\nHost: e2e\r\nConnection: close\r\n\r\n")
        assert all(caller.recv(8).startswith(b"HTTP/1.1") for caller in slow)
        require_others_are_answered(service)
        assert own_memory(service) - before < MANY * MIB < 3 * STATE_BYTES
        received = b"HTTP/1.1" + b"".join(iter(lambda: slow[-1].recv(MIB), b""))
    head, _, state = received.partition(b"\r\n\r\n")
    assert len(state) > STATE_BYTES
    assert f'etag: "{hashlib.sha256(state).hexdigest()}"'.encode() in head


def test_who_leaves_in_the_middle_of_an_upload_leaves_nothing(service: Service) -> None:
    part = b'--line\r\nContent-Disposition: form-data; name="weights"; filename="w"\r\n\r\n'
    process, temporary = psutil.Process(service.pid), service.directory / "temporary"
    before, open_files, files = own_memory(service), unnamed_files(process), sorted(temporary.rglob("*"))
    with callers(service, 8) as leaving:
        for caller in leaving:
            caller.sendall(post("/models/mlp/adapters", "multipart/form-data; boundary=line", 200 * MIB) + part)
            caller.sendall(bytes(16 * MIB))
        require_others_are_answered(service)
        assert own_memory(service) - before < 8 * 8 * MIB
    until(lambda: unnamed_files(process) <= open_files)
    assert sorted(temporary.rglob("*")) == files
    assert service.http.get("/models/mlp/adapters").json()["items"][0]["name"] == "large"
    require_others_are_answered(service)
