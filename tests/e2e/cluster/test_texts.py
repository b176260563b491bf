"""Texts through Serve's proxy: streamed while they are written, and given up when their caller leaves."""

import json
from typing import Any

import httpx
import pytest
from e2e.cluster.clusters import Cluster
from e2e.cluster.conftest import WORDS
from e2e.process import until

pytestmark = pytest.mark.deep  # a real Ray

ASKED: dict[str, Any] = {"inputs": {"text": ["a b c"]}, "parameters": {"max_new_tokens": 12, "min_new_tokens": 12}}
ENDLESS: dict[str, Any] = {
    "inputs": {"text": ["a b c"]},
    "parameters": {"max_new_tokens": 4000, "min_new_tokens": 4000},
}


def events(answer: httpx.Response) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found


def running_texts(cluster: Cluster) -> int:
    return sum(replica["texts"] for replica in cluster.http.get(f"/models/{WORDS}").json()["replicas"])


def test_a_streamed_text_is_the_whole_one(cluster: Cluster) -> None:
    whole = cluster.http.post(f"/models/{WORDS}/infer", json=ASKED).json()["outputs"]["text"]

    answer = cluster.http.post(f"/models/{WORDS}/infer", json={**ASKED, "stream": True})

    said = events(answer)
    assert said[-1][0] == "end"
    assert "".join(data["text"] for kind, data in said if kind == "token") == whole[0]


def test_a_text_ends_when_its_caller_leaves(cluster: Cluster) -> None:
    with cluster.http.stream("POST", f"/models/{WORDS}/infer", json={**ENDLESS, "stream": True}) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()  # kept: the connection is closed with it
        next(lines)
        until(lambda: running_texts(cluster) == 1)

    until(lambda: running_texts(cluster) == 0)


def test_a_deadline_is_answered_on_time_and_ends_the_text(cluster: Cluster) -> None:
    late = cluster.http.post(f"/models/{WORDS}/infer", json=ENDLESS, headers={"X-Request-Timeout": "0.5"})

    assert late.status_code == 504, late.text
    until(lambda: running_texts(cluster) == 0)


def test_a_key_makes_one_adapter_whichever_front_is_asked(cluster: Cluster) -> None:
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
    body, key = {"name": "made-once", "config": config}, {"Idempotency-Key": "made-once"}

    made = [cluster.http.post(f"/models/{WORDS}/adapters", json=body, headers=key) for _ in range(6)]

    assert {answer.status_code for answer in made} == {201}
    assert {answer.json()["reference"] for answer in made} == {"made-once@1"}


def test_events_are_followed_through_the_proxy(cluster: Cluster) -> None:
    newest = cluster.http.get("/events?kind=model.registered").json()["items"][0]["id"]
    with cluster.http.stream("GET", "/events", params={"follow": "true", "after": newest - 1}) as answer:
        line = next(line for line in answer.iter_lines() if line.startswith("data:"))
    assert json.loads(line.removeprefix("data:"))["kind"] == "model.registered"
