"""SIGTERM: what runs is finished, what comes is told to go elsewhere, and the process ends with 0."""

import json
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from e2e.adapters import create
from e2e.process import ROOT, Service, until

TOKENS = 40
CONFIG = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}


def generate(http: httpx.Client) -> httpx.Response:
    parameters = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS}
    asked: dict[str, Any] = {"adapter": "tone", "inputs": {"text": ["Count to fifty."]}, "parameters": parameters}
    return http.post("/models/smollm2/infer", json=asked)


def _refusal(http: httpx.Client) -> httpx.Response | None:
    answer = http.get("/models")
    return answer if answer.status_code == 503 else None


def test_a_generation_that_runs_is_finished_and_nothing_new_begins(new_service: Service) -> None:
    service, http = new_service.start(), new_service.http
    service.register("smollm2", {"kind": "huggingface", "path": "smollm2"})
    create(http, "smollm2", "tone", CONFIG)
    undisturbed = generate(http).json()["outputs"]
    with ThreadPoolExecutor() as threads:
        running = threads.submit(generate, http)
        until(lambda: http.get("/adapters/tone").json()["in_flight"] == 1)
        service.ask_to_end()
        refused = until(lambda: _refusal(http))
        assert not running.done()
        assert refused.json()["type"] == "unavailable"
        assert running.result().json()["outputs"] == undisturbed
    assert service.wait_for_the_end() == 0


def test_the_containers_entrypoint_migrates_serves_and_hands_the_signal_on(new_service: Service) -> None:
    service = new_service.start((str(ROOT / "docker" / "entrypoint.sh"),))
    assert "at this version's schema" in service.log
    service.run(shlex.join(_health_check()))
    service.ask_to_end()
    assert service.wait_for_the_end() == 0
    with pytest.raises(AssertionError, match="refused"):
        service.run(shlex.join(_health_check()))


def _health_check() -> list[str]:
    """The image's command that says whether the service in it lives."""
    found = re.search(r"^HEALTHCHECK .*\n *CMD (.*)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    return json.loads(found[1])
