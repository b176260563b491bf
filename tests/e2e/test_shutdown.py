"""SIGTERM to a container: what runs is finished, what comes is told to go elsewhere, and the process ends with 0."""

import json
import re
import shlex
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e.adapters import create
from e2e.gate import Gate
from e2e.process import ROOT, Service, until

CONFIG = {"peft_type": "LORA", "r": 2, "target_modules": ["first"], "init_lora_weights": False}


@dataclass(frozen=True, slots=True)
class End:
    """What was seen of a service that was asked to end while it answered."""

    undisturbed: httpx.Response
    interrupted: httpx.Response
    refused: httpx.Response
    was_running: bool
    exit_code: int


@pytest.fixture(scope="module")
def service(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Started as in a container; not the other modules' one, for it ends here."""
    service = Service(tmp_path_factory.mktemp("container"), demo_models)
    yield service.start((str(ROOT / "docker" / "entrypoint.sh"),))
    service.close()


@pytest.fixture(scope="module")
def end(service: Service) -> End:
    http, gate = service.http, Gate(service.directory / "gate")
    service.register("m", {"kind": "python", "factory": "e2e.gate:gated_forward", "kwargs": {"gate": str(gate.path)}})
    create(http, "m", "tone", CONFIG)
    undisturbed = _infer(http)
    gate.close()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(_infer, http)
        until(lambda: http.get("/adapters/tone").json()["in_flight"] == 1)
        service.ask_to_end()
        refused = until(lambda: _refusal(http))
        was_running = not running.done()
        gate.open()
        return End(undisturbed, running.result(), refused, was_running, service.wait_for_the_end())


def test_the_entrypoint_migrates_before_it_serves(service: Service) -> None:
    assert service.log.startswith("The database is at this version's schema.")


def test_the_images_health_check_succeeds_while_the_service_lives(service: Service) -> None:
    found = re.search(r"^HEALTHCHECK .*\n *CMD (.*)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    check = shlex.join(json.loads(found[1]))
    service.run(check)
    with pytest.raises(AssertionError, match="refused"):
        service.run(f"ADAPTER_SERVICE_PORT=1 {check}")


def test_what_runs_is_finished(end: End) -> None:
    assert end.was_running
    assert end.interrupted.status_code == 200
    assert end.interrupted.json()["outputs"] == end.undisturbed.json()["outputs"]


def test_what_comes_after_the_signal_is_told_to_go_elsewhere(end: End) -> None:
    assert end.refused.json()["type"] == "unavailable"
    assert end.refused.headers["retry-after"].isdecimal()


def test_the_process_ends_with_0(end: End) -> None:
    assert end.exit_code == 0


def test_new_requests_are_answered_for_the_delay_while_readiness_says_no(demo_models: Path, tmp_path: Path) -> None:
    service = Service(tmp_path, demo_models)
    service.environment["ADAPTER_SERVICE_DRAIN_DELAY"] = "3600"  # ended by a second signal, not by the time
    try:
        service.start()
        service.ask_to_end()
        refused = until(lambda: _not_ready(service.http))
        assert "about to shut down" in refused.json()["detail"]
        assert service.http.get("/models").status_code == 200
        assert service.http.get("/health/live").status_code == 200
        service.ask_to_end()
        assert service.wait_for_the_end() == -signal.SIGTERM
    finally:
        service.close()


def test_ctrl_c_ends_what_make_run_starts_without_a_word(demo_models: Path, tmp_path: Path) -> None:
    service = Service(tmp_path, demo_models)
    service.environment["ADAPTER_SERVICE_LOG_LEVEL"] = "warning"
    try:
        service.start().register("m", {"kind": "python", "factory": "bases:mlp"})
        service.ask_to_end(signal.SIGINT)
        assert service.wait_for_the_end() == 0
        assert service.log == ""
    finally:
        service.close()


@pytest.mark.deep
def test_what_can_not_be_finished_in_time_is_told_so_in_our_own_words(demo_models: Path, tmp_path: Path) -> None:
    service = Service(tmp_path, demo_models)
    try:
        service.start().register("smollm2", {"kind": "huggingface", "path": "smollm2"})
        with ThreadPoolExecutor() as threads:
            endless = threads.submit(_generate, service.http, tokens=4096)
            until(lambda: service.http.get("/models").is_success)
            service.ask_to_end()
            answer = endless.result()
        assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
        assert service.wait_for_the_end() == 0
    finally:
        service.close()


def _infer(http: httpx.Client) -> httpx.Response:
    return http.post("/models/m/infer", json={"adapter": "tone", "inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}})


def _generate(http: httpx.Client, tokens: int) -> httpx.Response:
    parameters = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    asked: dict[str, Any] = {"inputs": {"text": ["Count to fifty."]}, "parameters": parameters}
    return http.post("/models/smollm2/infer", json=asked)


def _refusal(http: httpx.Client) -> httpx.Response | None:
    answer = http.get("/models")
    return answer if answer.status_code == 503 else None


def _not_ready(http: httpx.Client) -> httpx.Response | None:
    answer = http.get("/health/ready")
    return answer if answer.status_code == 503 else None
