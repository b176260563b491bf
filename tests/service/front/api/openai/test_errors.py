"""Errors below `/v1` have OpenAI's form, whoever found them, and are the client's own exceptions."""

import httpx
import pytest
from openai import APIStatusError, InternalServerError, OpenAI, RateLimitError
from scripted_texts import Script

from models_registry.errors import DeadlinePassed, Invalid, Overloaded, RegistryError, Unavailable
from models_registry.records import Fault

BODY = {"model": "tone", "messages": [{"role": "user", "content": "a"}]}


def failing(script: Script, error: RegistryError) -> None:
    script.act = lambda call: call.fail(error)


def test_a_hosts_faults_are_reported_at_the_callers_field(client: OpenAI, script: Script) -> None:
    faults = {
        ("parameters", "max_new_tokens"): "max_tokens",
        ("parameters", "top_p"): "top_p",
        ("parameters", "constraint"): "response_format",
        ("inputs", "messages", 0, 2, "role"): "messages[2].role",
        ("inputs", "messages", 0): "messages",
        ("inputs", "tools"): "tools",
        ("chat",): "messages",
        ("parameters",): "model",
    }
    for loc, param in faults.items():
        failing(script, Invalid("Wrong.", [Fault(loc, "is too large")]))
        with pytest.raises(APIStatusError) as raised:
            client.chat.completions.create(model="tone", messages=[{"role": "user", "content": "a"}])
        assert (raised.value.status_code, raised.value.param) == (400, param)
        assert "is too large" in raised.value.message


def test_a_fault_in_one_of_several_prompts_names_it(client: OpenAI, script: Script) -> None:
    failing(script, Invalid("Wrong.", [Fault(("inputs", "text", 3), "has no tokens")]))
    with pytest.raises(APIStatusError) as raised:
        client.completions.create(model="tone", prompt=["a", "b"], n=2)
    assert raised.value.param == "prompt[1]"


def test_a_full_queue_is_a_rate_limit_that_says_when_to_return(client: OpenAI, script: Script) -> None:
    failing(script, Overloaded("The queue is full."))
    with pytest.raises(RateLimitError) as raised:
        client.completions.create(model="tone", prompt="a")
    assert raised.value.response.headers["retry-after"] == "1"
    assert (raised.value.type, raised.value.code) == ("rate_limit_error", "rate_limit_exceeded")


def test_a_teams_limit_is_a_rate_limit_that_names_it(client: OpenAI, http: httpx.Client) -> None:
    http.patch("/teams/default", json={"limits": {"tokens_per_minute": 5}}).raise_for_status()
    try:
        for stream in (False, True):
            with pytest.raises(RateLimitError, match="`tokens_per_minute` is 5") as raised:
                client.completions.create(model="tone", prompt="a", max_tokens=9, stream=stream)
            assert raised.value.response.headers["retry-after"] == "60"
            assert raised.value.response.headers["ratelimit"] == '"tokens_per_minute";r=5;t=0'
            assert (raised.value.type, raised.value.code) == ("rate_limit_error", "rate_limit_exceeded")
    finally:
        http.patch("/teams/default", json={"limits": {}}).raise_for_status()


@pytest.mark.parametrize(("error", "status"), [(Unavailable("Away."), 503), (DeadlinePassed("Late."), 504)])
def test_what_is_our_own_doing_is_a_server_error(
    client: OpenAI, script: Script, error: RegistryError, status: int
) -> None:
    failing(script, error)
    with pytest.raises(InternalServerError) as raised:
        client.completions.create(model="tone", prompt="a")
    assert (raised.value.status_code, raised.value.type) == (status, "server_error")


def test_a_deadline_is_taken_from_the_header(client: OpenAI, script: Script) -> None:
    script.act = lambda call: None
    with pytest.raises(InternalServerError) as raised:
        client.completions.create(model="tone", prompt="a", extra_headers={"X-Request-Timeout": "0.1"})
    assert raised.value.code == "deadline-passed"
    assert script.calls[0].cancelled.is_set()


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/v1/chat/completions", {"content": b"{"}, 400),
        ("POST", "/v1/chat/completions", {"json": []}, 400),
        ("POST", "/v1/chat/completions", {"json": BODY, "params": {"beta": "true"}}, 400),
        ("POST", "/v1/chat/completions", {"json": BODY, "headers": {"X-Request-Timeout": "soon"}}, 400),
        ("POST", "/v1/chat/completions", {"content": b"a", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/v1/chat/completions", {"json": BODY, "headers": {"Content-Encoding": "gzip"}}, 415),
        ("POST", "/v1/chat/completions", {"content": b" " * (17 << 20)}, 413),
        ("GET", "/v1/chat/completions", {}, 405),
        ("POST", "/v1/nothing", {"json": BODY}, 404),
    ],
)
def test_every_refusal_has_openais_form(
    http: httpx.Client, method: str, path: str, sent: dict[str, object], status: int
) -> None:
    response = http.request(method, path, **sent)  # pyright: ignore[reportArgumentType] - one of many forms each
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"]


def test_elsewhere_errors_are_problems_as_before(http: httpx.Client) -> None:
    assert http.get("/models/none").headers["content-type"] == "application/problem+json"


def test_what_may_have_been_meant_is_said_once(client: OpenAI) -> None:
    with pytest.raises(APIStatusError) as raised:
        client.completions.create(model="tone", prompt="a", extra_body={"sed": 1})
    assert raised.value.message.count("Did you mean 'seed'?") == 1


def test_a_field_that_may_have_one_value_only_names_it_as_json_does(client: OpenAI) -> None:
    with pytest.raises(APIStatusError, match="echo: Input should be false"):
        client.completions.create(model="tone", prompt="a", echo=True)


def test_probabilities_of_other_tokens_need_those_of_the_written_ones(client: OpenAI) -> None:
    with pytest.raises(APIStatusError, match="needs logprobs: true") as raised:
        client.chat.completions.create(model="tone", messages=[{"role": "user", "content": "a"}], top_logprobs=2)
    assert raised.value.param == "top_logprobs"
