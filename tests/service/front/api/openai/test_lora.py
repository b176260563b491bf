"""Adapters from the operator's directories, loaded and unloaded as vLLM's controllers do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from apps import RANDOM_LORA, SAFETENSORS, create, expect, host, settings_in
from starlette.testclient import TestClient

from service.bootstrap import create_app

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loras")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings_in(tmp_path_factory.mktemp("lora"), lora_root=root))) as client:
        host(client, "mlp", "bases:mlp")
        create(client, "uploaded")
        state = client.get("/adapters/uploaded/state", params={"keys": "peft"}).content
        config: dict[str, Any] = client.get("/adapters/uploaded/config").json()
        directory(root, "pirate", config, state)
        directory(root.parent, "outside", config, state)
        (root / "link").symlink_to(root.parent / "outside")
        directory(root, "broken", {**RANDOM_LORA, "target_modules": ["nothing"]}, state)
        directory(root, "listed", [], state)
        yield client


def directory(at: Path, name: str, config: Any, weights: bytes) -> None:
    (at / name).mkdir()
    (at / name / "adapter_config.json").write_text(json.dumps(config))
    (at / name / "adapter_model.safetensors").write_bytes(weights)


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    return response.json()["error"]


def test_a_directory_is_loaded_and_unloaded_by_name(app: TestClient, root: Path) -> None:
    loaded = app.post(LOAD, json={"lora_name": "pirate", "lora_path": str(root / "pirate"), "lora_int_id": 1})
    assert (loaded.status_code, loaded.text) == (200, "Success: LoRA adapter 'pirate' added successfully.")
    assert "pirate" in [model["id"] for model in app.get("/v1/models").json()["data"]]
    shown = expect(app.get("/adapters/pirate"), 200)
    assert shown["model"] == "mlp"

    again = {"lora_name": "pirate", "lora_path": "pirate"}
    assert "has already been loaded" in error_of(app.post(LOAD, json=again), 400)["message"]
    changed = app.get("/adapters/uploaded/state").content
    assert app.put("/adapters/pirate/state", content=changed, headers=SAFETENSORS).status_code == 200
    assert app.post(LOAD, json={**again, "load_inplace": True}).status_code == 200

    unloaded = app.post(UNLOAD, json={"lora_name": "pirate"})
    assert (unloaded.status_code, unloaded.text) == (200, "Success: LoRA adapter 'pirate' removed successfully.")
    assert error_of(app.post(UNLOAD, json={"lora_name": "pirate"}), 404)["type"] == "invalid_request_error"
    assert (root / "pirate" / "adapter_model.safetensors").is_file()


def test_what_was_uploaded_is_not_unloaded_so(app: TestClient) -> None:
    assert error_of(app.post(UNLOAD, json={"lora_name": "uploaded"}), 400)["param"] == "lora_name"
    body = {"lora_name": "uploaded", "lora_path": "pirate", "load_inplace": True}
    assert error_of(app.post(LOAD, json=body), 400)["param"] == "lora_name"
    expect(app.get("/adapters/uploaded"), 200)


@pytest.mark.parametrize("path", ["../outside", "/etc", "link", "pirate/../../outside"])
def test_a_path_outside_the_root_is_refused(app: TestClient, path: str) -> None:
    error = error_of(app.post(LOAD, json={"lora_name": "x", "lora_path": path}), 422)
    assert (error["param"], error["code"]) == ("lora_path", "outside-lora-root")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"lora_path": "none"}, 400, "lora_path"),
        ({"lora_path": "a\0b"}, 400, "lora_path"),
        ({"lora_path": "listed"}, 400, "lora_path"),
        ({"lora_path": "broken"}, 400, "config.target_modules"),
        ({"lora_path": "pirate", "lora_name": "no name"}, 400, "name"),
        ({"lora_path": "pirate", "base_model_name": "none"}, 404, "model"),
        ({}, 400, "lora_path"),
    ],
)
def test_what_cant_be_loaded_is_named(app: TestClient, body: dict[str, Any], status: int, param: str) -> None:
    assert error_of(app.post(LOAD, json={"lora_name": "x", **body}), status)["param"] == param


def test_without_a_root_nothing_is_loaded_from_paths(http: httpx.Client) -> None:
    body = {"lora_name": "x", "lora_path": "x"}
    assert "ADAPTER_SERVICE_LORA_ROOT" in error_of(http.post(LOAD, json=body), 403)["message"]
    assert error_of(http.post(UNLOAD, json=body), 403)["type"] == "permission_error"
