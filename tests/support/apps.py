"""The real app for a test: settings in a directory of its own, and what a test expects of an answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from databases import sqlite_url, write_migrated
from safetensors.torch import load, save
from starlette.testclient import TestClient
from torch import Tensor

from service.settings import Settings

Start = Callable[..., TestClient]
"""Starts an app with settings of the test's own; the fixture `start` is one."""

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["first", "second"]}
RANDOM_LORA: dict[str, Any] = {**LORA, "init_lora_weights": False}
ROWS = [[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 0.0, 2.0]]
SAFETENSORS = {"content-type": "application/vnd.safetensors"}


def settings_in(directory: Path, **others: Any) -> Settings:
    """Hosts share the test's process and the database is migrated already, which takes less time; tests/e2e has
    processes and databases as operators do."""
    file = directory / "registry.db"
    if "database_url" not in others and not file.exists():
        write_migrated(file)
    return Settings(
        transport=others.pop("transport", "in_process"),
        database_url=others.pop("database_url", sqlite_url(file)),
        blob_url=f"file:{directory}/blobs",
        model_roots=(directory / "models",),
        factories=("bases:*", "gated:*"),
        device="cpu",
        **others,
    )


def host(client: TestClient, model: str, factory: str, **kwargs: Any) -> None:
    source = {"kind": "python", "factory": factory, "kwargs": kwargs}
    expect(client.post("/models", params={"wait": 60}, json={"id": model, "source": source}), 201)


def create(client: TestClient, name: str, config: dict[str, Any] = RANDOM_LORA, model: str = "mlp") -> dict[str, Any]:
    body = {"name": name, "config": config, "seed": 1}
    return expect(client.post(f"/models/{model}/adapters", json=body), 201)


def two_versions(client: TestClient, name: str) -> None:
    """An adapter whose second version answers otherwise than its first."""
    create(client, name)
    state = halved(state_of(client, name))
    expect(client.put(f"/adapters/{name}/state", content=state, headers=SAFETENSORS), 201)


def state_of(client: TestClient, name: str) -> bytes:
    response = client.get(f"/adapters/{name}/state")
    assert response.status_code == 200
    return response.content


def halved(state: bytes) -> bytes:
    return save({key: tensor / 2 for key, tensor in load(state).items()})


def as_form(config: bytes, weights: bytes, **fields: str | list[str]) -> dict[str, Any]:
    """What TestClient sends as PEFT's two files with `fields` beside them."""
    files = {"config": ("adapter_config.json", config), "weights": ("adapter_model.safetensors", weights)}
    return {"files": files, "data": fields}


def safetensors(**tensors: Tensor) -> bytes:
    return save(tensors)


def expect(response: httpx2.Response, status: int) -> Any:
    """The answer's JSON, if its status is `status`."""
    assert response.status_code == status, response.text
    return response.json() if response.content else None


def expect_problem(response: httpx2.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem, if it has this status and type and is written as RFC 9457 says."""
    body = expect(response, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert (body["status"], body["type"]) == (status, kind), body
    assert body["title"]
    assert body["detail"]
    assert not body["detail"].endswith(".."), body["detail"]
    return body


def places(problem: dict[str, Any]) -> list[str]:
    """Where each of the problem's errors is, as in `inputs.x.1`."""
    return [".".join(map(str, error["loc"])) for error in problem["errors"]]
