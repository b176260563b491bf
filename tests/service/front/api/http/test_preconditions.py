"""If-Match as RFC 9110 writes it, on whatever makes a new version."""

import json
from typing import Any

import pytest
import torch
from apps import RANDOM_LORA, SAFETENSORS, as_form, create, expect, expect_problem
from safetensors.torch import load, save
from starlette.testclient import TestClient

from service.front.api.http.preconditions import parse_if_match
from service.front.api.problems import Refused


@pytest.mark.parametrize(
    ("header", "matching"),
    [
        ('"a"', {"a"}),
        (' "a" ', {"a"}),
        ('"a", "b"', {"a", "b"}),
        ('"a","b" , "c"', {"a", "b", "c"}),
        (',, "a" ,, "b" ,', {"a", "b"}),
        ('""', {""}),
        ('"a,b", "c"', {"a,b", "c"}),
        ('W/"a"', set[str]()),
        ('W/"a", "b"', {"b"}),
        ('"W/a"', {"W/a"}),
        ("*", None),
        (" * ", None),
    ],
)
def test_an_if_match_is_a_list_of_strong_etags_or_anything(header: str, matching: set[str] | None) -> None:
    assert parse_if_match(header) == matching


@pytest.mark.parametrize("header", ["", "abc", '"', '"a" "b"', '"a" b', '*, "a"', 'w/"a"', '"a', ",", '"a";"b"'])
def test_what_is_no_list_of_etags_is_malformed(header: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_if_match(header)
    assert caught.value.kind.status == 400


def test_a_long_header_is_read_in_no_time() -> None:
    for hostile in ('"a"' + " ," * 20_000 + "x", '"a", ' * 20_000 + "x", " " * 50_000):
        with pytest.raises(Refused):
            parse_if_match(hostile)


def halved(state: bytes) -> bytes:
    return save({key: tensor / 2 for key, tensor in load(state).items()})


def put(client: TestClient, name: str, if_match: str) -> Any:
    body = halved(client.get(f"/adapters/{name}/state").content)
    return client.put(f"/adapters/{name}/state", content=body, headers={**SAFETENSORS, "If-Match": if_match})


def post(client: TestClient, name: str, if_match: str) -> Any:
    config = json.dumps({**RANDOM_LORA, "r": 1, "target_modules": ["first"]}).encode()
    weights = save({"first.lora_A.weight": torch.ones(1, 4), "first.lora_B.weight": torch.rand(8, 1)})
    return client.post(f"/adapters/{name}/versions", **as_form(config, weights), headers={"If-Match": if_match})


@pytest.mark.parametrize("send", [put, post])
def test_a_new_version_is_made_only_on_one_of_the_states_that_are_named(client: TestClient, send: Any) -> None:
    name = f"named-{send.__name__}"
    create(client, name)
    first = client.get(f"/adapters/{name}/state").headers["etag"]
    second = send(client, name, f'"other", {first}')
    expect(second, 201)
    assert second.headers["etag"] == client.get(f"/adapters/{name}/state").headers["etag"] != first

    for stale in (first, f'{first}, "other"', f"W/{second.headers['etag']}", '"other"'):
        problem = expect_problem(send(client, name, stale), 412, "stale")
        assert f"{name}@2" in problem["detail"]
    expect(send(client, name, "*"), 201)
    expect_problem(send(client, name, "abc"), 400, "malformed")
    assert len(client.get(f"/adapters/{name}").json()["versions"]) == 3


def test_an_if_match_on_several_lines_is_one_list(client: TestClient) -> None:
    create(client, "lines")
    state = client.get("/adapters/lines/state")
    headers = [*SAFETENSORS.items(), ("If-Match", '"other"'), ("If-Match", state.headers["etag"])]
    expect(client.put("/adapters/lines/state", content=halved(state.content), headers=headers), 201)
