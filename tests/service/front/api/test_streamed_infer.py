"""`POST …/infer` with `stream`: what is written comes as events at once, and how a stream ends."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from apps import create, expect_problem, host, places, settings_in
from asgi_callers import Reader
from scripted_texts import ENDED, TIMEOUT_S, Call, Script, scripted
from starlette.testclient import TestClient

from models_registry.errors import Invalid, Overloaded
from service.bootstrap import create_app
from service.protocol.errors import HostLost

ASKED: dict[str, Any] = {"inputs": {"text": ["a", "b"]}, "parameters": {}, "stream": True}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(settings_in(tmp_path_factory.mktemp("streams")))) as client:
        host(client, "mlp", "bases:mlp")
        create(client, "tone")
        yield client


@pytest.fixture
def script(app: TestClient) -> Iterator[Script]:
    with scripted() as script:
        yield script


def events_in(text: str) -> list[tuple[str, Any]]:
    """The name and the data of each."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if not block.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def stream(app: TestClient, **others: Any) -> list[tuple[str, Any]]:
    response = app.post("/models/mlp/infer", json=ASKED | others)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events_in(response.text)


def usage(prompt: int, cached: int, generated: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "cached_tokens": cached, "generated_tokens": generated}


def test_rows_are_sent_as_they_are_written_and_each_names_its_adapter(app: TestClient, script: Script) -> None:
    def act(call: Call) -> None:
        call.write("one ", row=1)
        call.write("two", row=1, end=ENDED)
        call.write("three", row=0, end=ENDED)
        call.finish("three", "one two")

    script.act = act
    events = stream(app, adapter=["tone", None])
    assert "".join(data["text"] for name, data in events if name == "token" and data["row"] == 1) == "one two"
    rows = {data["row"]: data for name, data in events if name == "row"}
    digest = app.get("/adapters/tone").json()["digest"]
    ended = {"finish_reason": "stop", "usage": usage(7, 3, 2)}
    assert rows[0] == {"row": 0, "adapter": "tone@1", "digest": digest, "text": "three", **ended}
    assert rows[1] == {"row": 1, "adapter": None, "digest": None, "text": "one two", **ended}
    assert events[-1] == ("end", {"timing": {"queue_ms": 1.0, "forward_ms": 2.0}})


def test_what_fails_before_the_first_part_has_its_own_status(app: TestClient, script: Script) -> None:
    script.act = lambda call: call.fail(Invalid("no"))
    expect_problem(app.post("/models/mlp/infer", json=ASKED), 422, "invalid")
    script.act = lambda call: call.fail(Overloaded("full"))
    assert app.post("/models/mlp/infer", json=ASKED).headers["retry-after"] == "1"
    expect_problem(app.post("/models/none/infer", json=ASKED), 404, "not-found")
    expect_problem(app.post("/models/mlp/infer", json=ASKED | {"adapter": "none"}), 404, "not-found")


def test_what_fails_later_is_the_streams_last_event(app: TestClient, script: Script) -> None:
    def act(call: Call) -> None:
        call.write("half")
        call.fail(HostLost("mlp", "SIGKILL"))

    script.act = act
    *_, (name, problem) = stream(app)
    assert (name, problem["type"], problem["status"]) == ("error", "host-restarting", 503)
    assert len(script.calls) == 1


def test_a_request_is_tried_again_as_long_as_nothing_of_it_came(app: TestClient, script: Script) -> None:
    def act(call: Call) -> None:
        if len(script.calls) == 1:
            call.fail(HostLost("mlp", "SIGKILL"))
        else:
            call.write("whole", end=ENDED)
            call.finish("whole")

    script.act = act
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.front.services.inference.RETURN_S", 0.0)
        assert [name for name, _ in stream(app)] == ["token", "row", "end"]
    assert len(script.calls) == 2


def test_a_deadline_bounds_a_stream_too(app: TestClient, script: Script) -> None:
    script.act = lambda call: None
    response = app.post("/models/mlp/infer", json=ASKED, headers={"X-Request-Timeout": "0.2"})
    expect_problem(response, 504, "deadline-passed")
    assert script.calls[0].cancelled.is_set()


def test_a_caller_who_disconnects_ends_their_texts(app: TestClient, script: Script) -> None:
    script.act = lambda call: call.write("half")
    Reader(app, "/models/mlp/infer", ASKED, leaves=True).ask()
    assert script.calls[0].cancelled.wait(TIMEOUT_S)


def test_a_slow_reader_holds_up_nobody_and_loses_nothing(app: TestClient, script: Script) -> None:
    written = threading.Event()

    def act(call: Call) -> None:
        for number in range(1000):
            call.write(f"{number} ")
        call.write("last", end=ENDED)
        call.finish("")
        written.set()

    script.act = act
    reader = Reader(app, "/models/mlp/infer", ASKED)
    reader.before_reading = lambda: written.wait(TIMEOUT_S)
    reader.ask()
    events = events_in(reader.text)
    # What was there at first, and all the rest in one.
    assert len(events) <= 4
    assert events[-2][1]["text"] == "".join(f"{number} " for number in range(1000)) + "last"


def test_a_stream_without_parameters_is_refused(app: TestClient) -> None:
    body = {"inputs": {"text": ["a"]}, "stream": True}
    assert places(expect_problem(app.post("/models/mlp/infer", json=body), 422, "invalid")) == ["stream"]


def test_a_whole_answer_says_how_its_texts_ended_too(app: TestClient, script: Script) -> None:
    script.act = lambda call: call.finish("one", "two")
    answer = app.post("/models/mlp/infer", json=ASKED | {"stream": False}).json()
    assert answer["texts"] == [{"finish_reason": "stop", "usage": usage(7, 3, 2)}] * 2
