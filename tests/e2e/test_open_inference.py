"""The guide of the Open Inference Protocol, as it stands, against the real service."""

import json
import re
from typing import Any

import httpx
import pytest
from e2e.adapters import upload
from e2e.process import ROOT, Service

PIRATE = ROOT / "service" / "demo" / "pirate"


def test_the_guides_client_embeds_and_writes(
    service: Service, http: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    config, weights = PIRATE / "adapter_config.json", PIRATE / "adapter_model.safetensors"
    uploaded = upload(http, "smollm2", "triton-pirate", json.loads(config.read_text()), weights.read_bytes())
    assert uploaded.status_code == 201, uploaded.text
    guide = (ROOT / "docs" / "guides" / "open-inference.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    here = code.replace("127.0.0.1:8000", service.address.removeprefix("http://"))
    names: dict[str, Any] = {}
    exec(compile(here.replace('"pirate"', '"triton-pirate"'), "open-inference.md", "exec"), names)
    names["client"].close()
    body = {
        "adapter": "triton-pirate",
        "inputs": {"text": ["Tell me about the sea."]},
        "parameters": {"max_new_tokens": 24},
    }
    (text,) = http.post("/models/smollm2/infer", json=body).json()["outputs"]["text"]
    assert capsys.readouterr().out == f"(2, 384)\n{text}\ntriton-pirate@1\n"
