"""A caller who leaves over real HTTP: what is done for him ends, and others don't wait for it."""

import json
import socket
from itertools import count

from e2e.process import Service, until

ENDLESS = {"max_new_tokens": 4096, "min_new_tokens": 4096}
HEAD = "POST /models/smollm2/infer HTTP/1.1\r\nHost: e2e\r\nContent-Type: application/json\r\nContent-Length: "


def begin(service: Service) -> socket.socket:
    """A caller who asks for more text than anybody would wait for."""
    body = json.dumps({"inputs": {"text": ["Count."]}, "parameters": ENDLESS}).encode()
    caller = socket.create_connection(("127.0.0.1", service.port))
    caller.sendall(f"{HEAD}{len(body)}\r\n\r\n".encode() + body)
    return caller


def test_text_that_nobody_waits_for_any_more_is_not_written_to_its_end(service: Service) -> None:
    names = (f"leaving-{number}" for number in count())

    def writes() -> bool:
        """Whether the model's thread does, so that an adapter can't be placed. It may not have come to that yet."""
        adapter = {"name": next(names), "config": {"peft_type": "LORA", "target_modules": ["q_proj"]}}
        created = service.http.post("/models/smollm2/adapters", json=adapter).json()
        return any("busy" in warning for warning in created["warnings"])

    callers = [begin(service) for _ in range(3)]
    until(writes)
    for caller in callers:
        caller.close()
    asked = {"inputs": {"text": ["Hello."]}, "parameters": {"max_new_tokens": 1}}
    assert service.http.post("/models/smollm2/infer", json=asked).status_code == 200
