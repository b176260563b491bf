"""An adapter's state comes back byte for byte, under a digest that anybody can check, and older versions stay."""

import hashlib
import io
import json
import zipfile

import httpx
import pytest
import torch
from e2e.adapters import CONFIGS, SAFETENSORS, ask, create, rows, same_bits, state, trained, upload
from safetensors.torch import load

MODEL = "minilm"
CONFIG = CONFIGS["lora"]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def injected(http: httpx.Client) -> None:
    create(http, MODEL, "kept", CONFIG, seed=7)


def test_the_etag_of_a_state_is_the_sha256_of_its_bytes(http: httpx.Client) -> None:
    answer = http.get("/adapters/kept/state")
    assert answer.headers["etag"] == f'"{sha256(answer.content)}"'
    assert http.get("/adapters/kept").json()["digest"] == f"sha256:{sha256(answer.content)}"


def test_a_state_that_the_caller_has_is_not_sent_again(http: httpx.Client) -> None:
    etag = http.get("/adapters/kept/state").headers["etag"]
    answer = http.get("/adapters/kept/state", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")


def test_a_part_of_a_state_can_be_asked_for(http: httpx.Client) -> None:
    answer = http.get("/adapters/kept/state", headers={"Range": "bytes=8-99"})
    assert (answer.status_code, answer.content) == (206, state(http, "kept")[8:100])


def test_the_keys_are_those_of_the_injected_model_or_of_pefts_file(http: httpx.Client) -> None:
    own, peft = load(state(http, "kept")), load(state(http, "kept", keys="peft"))
    assert "encoder.layer.0.attention.self.query.lora_A.weight" in own
    assert peft.keys() == {f"base_model.model.{key}" for key in own}
    assert own["encoder.layer.0.attention.self.query.lora_A.weight"].shape == (4, 384)


def test_new_weights_are_a_new_version_beside_the_old_one(http: httpx.Client) -> None:
    create(http, MODEL, "moved", CONFIG, seed=8)
    first, inputs = state(http, "moved"), rows(2)
    second = trained(first, seed=9)
    put = http.put(
        "/adapters/moved/state",
        content=second,
        headers={"Content-Type": SAFETENSORS, "If-Match": f'"{sha256(first)}"'},
    )
    assert (put.status_code, put.json()["reference"]) == (201, "moved@2")
    assert state(http, "moved", version=1) == first
    assert all(torch.equal(tensor, load(second)[key]) for key, tensor in load(state(http, "moved")).items())
    newest = ask(http, MODEL, "moved", inputs)
    assert same_bits(newest, ask(http, MODEL, "moved@2", inputs))
    assert not same_bits(newest, ask(http, MODEL, "moved@1", inputs))
    assert same_bits(ask(http, MODEL, "moved@1", inputs), ask(http, MODEL, None, inputs))


def test_who_builds_on_an_older_state_is_told_so(http: httpx.Client) -> None:
    answer = http.put(
        "/adapters/kept/state",
        content=state(http, "kept"),
        headers={"Content-Type": SAFETENSORS, "If-Match": f'"{sha256(b"older")}"'},
    )
    assert (answer.status_code, answer.json()["type"]) == (412, "stale")


def test_a_checkpoint_can_be_uploaded_again_as_it_is(http: httpx.Client) -> None:
    answer = http.get("/adapters/kept/checkpoint")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == ["adapter_config.json", "adapter_model.safetensors"]
        config = json.loads(archive.read("adapter_config.json"))
        weights = archive.read("adapter_model.safetensors")
    again = upload(http, MODEL, "kept-again", config, weights)
    assert again.status_code == 201, again.text
    assert state(http, "kept-again") == state(http, "kept")


def test_the_same_seed_gives_the_same_bytes(http: httpx.Client) -> None:
    create(http, MODEL, "kept-twin", CONFIG, seed=7)
    assert state(http, "kept-twin") == state(http, "kept")
