"""Where bytes come in, over raw sockets: what is too large is refused at once, and nothing outlives the service."""

import json
import socket
from pathlib import Path

import psutil
import pytest
from e2e.process import Service, until

MIB = 1 << 20


@pytest.mark.parametrize(("start", "status"), [(b"GET /adapters HTTP/1.1\r\nX-Large: ", 431), (b"GET /", 414)])
def test_a_head_without_an_end_is_refused_while_it_arrives(service: Service, start: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as caller:
        caller.sendall(start + b"a" * MIB)
        answer = b"".join(iter(lambda: caller.recv(MIB), b""))
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body)["status"] == status
    assert json.loads(body)["request_id"] in service.log


def test_the_process_that_reads_large_json_ends_with_a_service_that_is_killed(tmp_path: Path) -> None:
    service = Service(tmp_path, tmp_path / "no-models")
    try:
        assert service.start_preloaded().http.post("/models", json={"id": "a" * MIB}).status_code == 422
        children = psutil.Process(service.pid).children()
        (reader,) = [child for child in children if "service.front.api.http.json_worker" in child.cmdline()]
        service.kill()
        until(lambda: not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE)
    finally:
        service.close()
