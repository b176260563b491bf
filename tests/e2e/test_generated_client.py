"""A client that openapi-python-client makes from our document, used against the running service."""

import importlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.adapters import CONFIGS, trained
from e2e.process import BIN, Service
from safetensors.torch import load

PACKAGE = "generated_adapter_client"


@pytest.fixture(scope="module")
def client(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The generated package's client; the package can be imported meanwhile."""
    directory = tmp_path_factory.mktemp("client")
    document = directory / "openapi.json"
    document.write_text(json.dumps(service.http.get("/openapi.json").json()))
    command = [BIN / "openapi-python-client", "generate", "--meta", "none", "--path", document]
    subprocess.run([*command, "--output-path", directory / PACKAGE], check=True, capture_output=True)
    sys.path.insert(0, str(directory))
    with importlib.import_module(PACKAGE).Client(service.address, timeout=120.0) as client:
        yield client
    sys.path.remove(str(directory))
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def call(client: Any, operation: str, *path: Any, **arguments: Any) -> Any:
    """What the operation's `sync` returns, which is None where the document doesn't say what comes."""
    answer = importlib.import_module(f"{PACKAGE}.api.{operation}").sync(*path, client=client, **arguments)
    assert answer is not None, operation
    return answer


def model(name: str) -> Any:
    return getattr(importlib.import_module(f"{PACKAGE}.models"), name)


def file_of(content: bytes) -> Any:
    types = importlib.import_module(f"{PACKAGE}.types")
    return types.File(payload=io.BytesIO(content), file_name="adapter_model.safetensors")


def test_a_generated_client_pushes_an_adapter_infers_with_it_and_gets_its_files(client: Any) -> None:
    config = dict(CONFIGS["lora"])
    fresh = model("FreshAdapterBody").from_dict({"name": "generated", "config": config, "seed": 1})
    assert call(client, "adapters.create_adapter", "minilm", body=fresh).reference == "generated@1"
    first = call(client, "adapters.get_state", "generated").payload.read()

    uploaded = model("UploadedAdapterBody")(
        config=model("UploadedAdapterBodyConfig").from_dict(config),
        weights=file_of(trained(first, 1)),
        name="generated-trained",
    )
    pushed = call(client, "adapters.create_adapter", "minilm", body=uploaded)
    assert (pushed.reference, pushed.warnings) == ("generated-trained@1", [])

    version = model("UploadedVersionBody")(
        config=model("UploadedVersionBodyConfig").from_dict(config),
        weights=file_of(trained(first, 2)),
        metadata=model("UploadedVersionBodyMetadata").from_dict({"run": 2}),
    )
    etag = f'"{pushed.digest.removeprefix("sha256:")}"'
    second = call(client, "adapters.add_version", "generated-trained", body=version, if_match=etag)
    assert second.reference == "generated-trained@2"
    stale = call(client, "adapters.add_version", "generated-trained", body=version, if_match=etag)
    assert (stale.status, stale.type_) == (412, model("ProblemType").STALE)

    third = trained(first, 3)
    put = call(client, "adapters.put_state", "generated-trained", body=file_of(third), metadata='{"run": 3}')
    assert (put.reference, put.unchanged) == ("generated-trained@3", False)
    assert call(client, "adapters.put_state", "generated-trained", body=file_of(third)).unchanged is True
    whole = call(client, "adapters.get_version", "generated-trained", 3)
    assert whole.metadata.to_dict() == {"run": 3}
    assert len(whole.targets) == whole.target_count

    ask = model("InferBody").from_dict({"adapter": "generated-trained@2", "inputs": {"text": ["Good morning."]}})
    answer = call(client, "inference.infer", "minilm", body=ask)
    assert answer.adapter == ["generated-trained@2"]
    assert next(iter(answer.outputs.additional_properties.values())).shape[0] == 1

    state = call(client, "adapters.get_state", "generated-trained", version=3).payload.read()
    assert load(state).keys() == load(third).keys()
    assert all((load(state)[key] == tensor).all() for key, tensor in load(third).items())
    assert call(client, "adapters.get_checkpoint", "generated-trained").payload.read(2) == b"PK"
    assert call(client, "adapters.get_config", "generated-trained").to_dict()["base_model_name_or_path"] == "minilm"
    assert "adapter_service_requests_total" in call(client, "health.metrics")


def test_every_operation_is_in_the_generated_client(client: Any, service: Service) -> None:
    """One whose document can't be read is left out, with a warning that nobody sees."""
    paths = service.http.get("/openapi.json").json()["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    for operation in operations:
        module = importlib.import_module(f"{PACKAGE}.api.{operation['tags'][0]}.{operation['operationId']}")
        assert callable(module.sync_detailed)
    assert client is not None
