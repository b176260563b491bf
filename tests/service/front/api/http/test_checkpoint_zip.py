"""A checkpoint's .zip as an upload: what is read of it, and what a hostile one costs."""

import io
import json
import struct
import zipfile
from typing import Any

import pytest
import torch
from apps import RANDOM_LORA, create, expect, expect_problem, places
from safetensors.torch import save
from starlette.testclient import TestClient

from models_registry.errors import Invalid, TooLarge
from service.front.api.http.checkpoint_zip import CONFIG, WEIGHTS, read_checkpoint

FILES = {CONFIG: json.dumps(RANDOM_LORA).encode(), WEIGHTS: b"weights" * 100}


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file


def upload(client: TestClient, path: str, checkpoint: bytes, **fields: str) -> Any:
    return client.post(path, files={"checkpoint": ("tone.zip", checkpoint)}, data=fields)


def test_a_checkpoint_that_was_downloaded_is_uploaded_as_it_is(client: TestClient) -> None:
    digest = create(client, "packed")["digest"]
    checkpoint = client.get("/adapters/packed/checkpoint").content
    created = expect(upload(client, "/models/mlp/adapters", checkpoint, name="unpacked"), 201)
    assert (created["reference"], created["digest"]) == ("unpacked@1", digest)
    second = expect(upload(client, "/adapters/unpacked/versions", checkpoint, metadata='{"run": 7}'), 201)
    assert (second["reference"], second["digest"]) == ("unpacked@2", digest)
    assert client.get("/adapters/unpacked/config").json() == client.get("/adapters/packed/config").json()


def test_pefts_own_words_for_its_files_are_understood(client: TestClient) -> None:
    tensors = {"first.lora_A.weight": torch.ones(1, 4), "first.lora_B.weight": torch.ones(8, 1)}
    config = json.dumps({**RANDOM_LORA, "r": 1, "target_modules": ["first"]})
    for number, (one, other) in enumerate([("adapter_config", "adapter_model"), (CONFIG, WEIGHTS)]):
        files = {one: (CONFIG, config), other: (WEIGHTS, save(tensors))}
        expect(client.post("/models/mlp/adapters", files=files, data={"name": f"own-words-{number}"}), 201)
    twice = {"weights": (WEIGHTS, b""), "adapter_model": (WEIGHTS, b""), "config": (CONFIG, config)}
    answer = client.post("/models/mlp/adapters", files=twice, data={"name": "twice"})
    assert places(expect_problem(answer, 422, "invalid")) == ["weights"]


def test_a_checkpoint_comes_without_the_files_that_are_in_it(client: TestClient) -> None:
    files = {"checkpoint": ("a.zip", zipped(FILES).getvalue()), "weights": (WEIGHTS, b"")}
    answer = client.post("/models/mlp/adapters", files=files, data={"name": "both"})
    assert places(expect_problem(answer, 422, "invalid")) == ["weights"]
    answer = client.post("/models/mlp/adapters", data={"name": "text", "checkpoint": "a.zip"}, files={"config": b"{}"})
    assert "checkpoint" in places(expect_problem(answer, 422, "invalid"))


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (io.BytesIO(b""), "no .zip"),
        (io.BytesIO(b"PK" * 100), "no .zip"),
        (zipped({CONFIG: b"{}"}), "no adapter_model.safetensors"),
        (zipped({f"tone/{name}": content for name, content in FILES.items()}), "without a folder"),
        (zipped({f"../{name}": content for name, content in FILES.items()}), "without a folder"),
        (zipped({**FILES, **{f"{number}": b"" for number in range(63)}}), "64 files"),
        (zipped(FILES, zipfile.ZIP_LZMA), "another way than deflate"),
        (io.BytesIO(zipped(FILES, zipfile.ZIP_STORED).getvalue().replace(b"weights", b"WEIGHTS")), "can't be read"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(file: io.BytesIO, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        read_checkpoint(file, 10_000, 10_000).weights.file.close()


def test_of_a_checkpoint_only_the_two_files_are_read() -> None:
    hostile = zipped({**FILES, "../../escaped": b"x", "README.md": b"x" * 100_000, "adapter_model.bin": b"x"})
    found = read_checkpoint(hostile, 10_000, 10_000)
    with found.weights.file:
        assert (found.config, found.weights.read()) == (FILES[CONFIG], FILES[WEIGHTS])


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_file_that_inflates_beyond_its_limit_is_not_read_on(name: str) -> None:
    bomb = zipped({**FILES, name: bytes(50_000_000)})
    assert len(bomb.getvalue()) < 100_000
    with pytest.raises(TooLarge, match=f"{name} in the checkpoint is larger than 10000 bytes"):
        read_checkpoint(bomb, 10_000, 10_000)


def test_a_directory_that_says_it_is_small_but_is_not_is_not_read() -> None:
    end = zipped(FILES).getvalue()[-22:]
    listed = struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 1)
    with pytest.raises(Invalid, match="64 files"):
        read_checkpoint(io.BytesIO(bytes(1_000) + listed + end), 10_000, 10_000)
