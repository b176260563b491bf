"""An adapter's config and checkpoint, as PEFT reads them."""

import io
import json
import zipfile
from pathlib import Path

import bases
import torch
from apps import (
    LORA,
    RANDOM_LORA,
    ROWS,
    as_form,
    create,
    expect,
)
from peft import AdaLoraConfig, PeftModel
from safetensors.torch import save
from starlette.testclient import TestClient
from tolerance import assert_same_in_float32


def test_the_config_is_an_adapter_config_json_for_inference(client: TestClient) -> None:
    create(client, "config", {**LORA, "lora_dropout": 0.5})
    config = expect(client.get("/adapters/config/config"), 200)
    assert config["inference_mode"] is True
    assert config["lora_dropout"] == 0.5
    assert {key: config[key] for key in LORA} == LORA


def test_the_config_names_our_base_model_wherever_its_uploader_had_it(client: TestClient) -> None:
    create(client, "moved", {**RANDOM_LORA, "base_model_name_or_path": "/srv/weights"})
    assert client.get("/adapters/moved/config").json()["base_model_name_or_path"] == "mlp"
    with zipfile.ZipFile(io.BytesIO(client.get("/adapters/moved/checkpoint").content)) as archive:
        assert json.loads(archive.read("adapter_config.json"))["base_model_name_or_path"] == "mlp"


def test_a_config_is_that_of_the_version_that_is_asked_for(client: TestClient) -> None:
    create(client, "configs")
    config = json.dumps({**RANDOM_LORA, "r": 1, "target_modules": ["first"]}).encode()
    weights = save({"first.lora_A.weight": torch.ones(1, 4), "first.lora_B.weight": torch.ones(8, 1)})
    expect(client.post("/adapters/configs/versions", **as_form(config, weights)), 201)
    assert client.get("/adapters/configs/config").json()["r"] == 1
    assert client.get("/adapters/configs/config?version=1").json()["r"] == 2


def test_peft_loads_the_unzipped_checkpoint_and_answers_as_the_service_does(client: TestClient, tmp_path: Path) -> None:
    create(client, "zipped")
    response = client.get("/adapters/zipped/checkpoint")
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == ["adapter_config.json", "adapter_model.safetensors"]
        archive.extractall(tmp_path)
    peft = PeftModel.from_pretrained(bases.mlp(), tmp_path)
    answer = expect(client.post("/models/mlp/infer", json={"adapter": "zipped", "inputs": {"x": ROWS}}), 200)
    ours = torch.tensor(answer["outputs"]["output"]["data"]).reshape(2, 3)
    with torch.inference_mode():
        assert_same_in_float32(peft(torch.tensor(ROWS)), ours)
        assert not torch.allclose(bases.mlp()(torch.tensor(ROWS)), ours)


def test_a_checkpoint_of_adalora_has_a_schedule_that_peft_reads(client: TestClient) -> None:
    create(client, "ada", {"peft_type": "ADALORA", "target_modules": ["first"], "tinit": 3, "tfinal": 2})
    with zipfile.ZipFile(io.BytesIO(client.get("/adapters/ada/checkpoint").content)) as opened:
        config = json.loads(opened.read("adapter_config.json"))
    assert AdaLoraConfig(**config).total_step == 6


def test_a_checkpoint_is_the_same_bytes_each_time(client: TestClient) -> None:
    create(client, "same")
    first = client.get("/adapters/same/checkpoint")
    again = client.get("/adapters/same/checkpoint", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert client.get("/adapters/same/checkpoint").content == first.content
