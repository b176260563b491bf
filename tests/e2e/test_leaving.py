"""A caller who leaves over real HTTP: what is done for him ends, and others don't wait for it."""

import json
import socket

from e2e.cluster.clusters import GENERATION
from e2e.process import Service, until

ENDLESS = {"max_new_tokens": 4096, "min_new_tokens": 4096}
HEAD = "POST /models/smollm2/infer HTTP/1.1\r\nHost: e2e\r\nContent-Type: application/json"


def begin(service: Service, generation: str) -> socket.socket:
    """A caller who asks for more text than anybody would wait for, of a front that has this generation."""
    body = json.dumps({"adapter": "leaving", "inputs": {"text": ["Count."]}, "parameters": ENDLESS}).encode()
    caller = socket.create_connection(("127.0.0.1", service.port))
    head = f"{HEAD}\r\n{GENERATION}: {generation}\r\nContent-Length: {len(body)}\r\n\r\n"
    caller.sendall(head.encode() + body)
    return caller


def test_text_that_nobody_waits_for_any_more_is_not_written_to_its_end(service: Service) -> None:
    def written() -> int:
        """Texts that are being written, each of which holds its adapter."""
        listed = service.http.get("/adapters/leaving").json()
        return sum(version["in_flight"] for version in listed["versions"])

    adapter = {"name": "leaving", "config": {"peft_type": "LORA", "target_modules": ["q_proj"]}}
    created = service.http.post("/models/smollm2/adapters", json=adapter)
    assert created.status_code == 201
    callers = [begin(service, created.headers[GENERATION]) for _ in range(3)]
    until(lambda: written() == 3)
    for caller in callers:
        caller.close()
    until(lambda: written() == 0)
    asked = {"inputs": {"text": ["Hello."]}, "parameters": {"max_new_tokens": 1}}
    assert service.http.post("/models/smollm2/infer", json=asked).status_code == 200
