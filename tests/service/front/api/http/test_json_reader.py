"""JSON of every size is read the same way, and what is large in a process of its own."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from apps import expect, expect_problem
from starlette.testclient import TestClient

from models_registry.errors import Unavailable
from models_registry.inputs.json_inputs import decode_inputs
from service.front.api.http.json_reader import AT_ONCE, IN_A_THREAD, JsonReader
from service.front.api.problems import Refused

SIZES = {"at once": 10, "in a thread": AT_ONCE, "in the process": IN_A_THREAD}


@pytest.fixture(scope="module")
def reader() -> Iterator[JsonReader]:
    reader = JsonReader()
    yield reader
    reader.close()


def processes() -> list[psutil.Process]:
    """This reader's, and those of other tests' apps."""
    return [
        child
        for child in psutil.Process().children()
        if "service.front.api.http.json_worker" in " ".join(child.cmdline())
    ]


@pytest.mark.parametrize("size", SIZES)
def test_an_object_is_read_as_it_was_written(reader: JsonReader, size: str) -> None:
    value = {"text": "\N{GRINNING FACE}" + "a" * SIZES[size], "numbers": [1, 2.5, None, True, 10**30]}
    assert asyncio.run(reader.read(json.dumps(value).encode())) == value


@pytest.mark.parametrize("size", SIZES)
def test_the_inputs_of_a_call_are_the_same_tensors_wherever_they_are_read(reader: JsonReader, size: str) -> None:
    rows = SIZES[size] // 10
    wanted = {
        "whole": torch.arange(2 * rows).reshape(rows, 2),
        "true": torch.ones(rows, 1, dtype=torch.bool),
        "half": torch.full((rows,), 0.1, dtype=torch.bfloat16),
        "odd": torch.tensor([torch.inf, 1.5] * rows),
    }
    inputs: dict[str, Any] = {
        "whole": wanted["whole"].tolist(),
        "true": wanted["true"].tolist(),
        "half": {"dtype": "bfloat16", "shape": [rows], "data": [0.1] * rows},
        "odd": ["Infinity", 1.5] * rows,
    }
    value = asyncio.run(reader.read_call(json.dumps({"inputs": inputs, "adapter": ["a", None]}).encode()))
    tensors = decode_inputs(value["inputs"]).tensors
    assert value["adapter"] == ["a", None]
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    assert all(tensors[name].dtype == wanted[name].dtype for name in wanted)


def test_an_image_beside_a_text_may_have_more_numbers_than_others_have_values(reader: JsonReader) -> None:
    pixels = torch.rand(1, 3, 200, 200)
    body = json.dumps({"inputs": {"text": ["a"], "pixel_values": pixels.tolist()}}).encode()
    inputs = decode_inputs(asyncio.run(reader.read_call(body))["inputs"])
    assert inputs.texts == ("a",)
    assert torch.equal(inputs.tensors["pixel_values"], pixels)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("end", "words"), [(b"", "not JSON"), (b', "x": 1, "x": 2}', 'the key "x"')])
def test_what_is_no_json_is_refused_alike(reader: JsonReader, size: str, end: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        asyncio.run(reader.read(b'{"a": "%s"' % (b"a" * SIZES[size]) + end))
    assert caught.value.kind.status == 400


@pytest.mark.parametrize("value", [b"[],", b"{},", b'"",', b"0,"])
def test_very_many_values_are_not_passed_on(reader: JsonReader, value: bytes) -> None:
    with pytest.raises(Refused, match="more than 100000 values") as caught:
        asyncio.run(reader.read(b"[%s0]" % (value * 200_000)))
    assert caught.value.kind.status == 413


def test_a_process_that_ends_over_a_body_is_reported_and_replaced(reader: JsonReader) -> None:
    reader.close()
    others = processes()
    large = json.dumps("a" * IN_A_THREAD).encode()
    asyncio.run(reader.read(large))
    (process,) = [one for one in processes() if one not in others]
    process.kill()
    process.wait()
    with pytest.raises(Unavailable, match="ended"):
        asyncio.run(reader.read(large))
    assert asyncio.run(reader.read(large)) == "a" * IN_A_THREAD


def test_the_process_knows_no_secret(reader: JsonReader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.close()
    monkeypatch.setenv("ADAPTER_SERVICE_DATABASE_URL", "postgresql://user:secret@host/db")
    others = processes()
    asyncio.run(reader.read(json.dumps("a" * IN_A_THREAD).encode()))
    (process,) = [one for one in processes() if one not in others]
    assert b"secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()


def test_a_large_call_is_answered_and_its_faults_are_listed(client: TestClient) -> None:
    rows = [[1.0, 2.0, 3.0, 4.0]] * 20_000
    assert expect(client.post("/models/mlp/infer", json={"inputs": {"x": rows[:3_000]}}), 200)
    body = {"inputs": {"x": [*rows, [1.0]], "y": {"dtype": "int8"}}}
    problem = expect_problem(client.post("/models/mlp/infer", json=body), 422, "invalid")
    assert [error["loc"] for error in problem["errors"]] == [["inputs", "x", 20_000], ["inputs", "y"]]
