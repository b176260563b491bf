"""What the log holds once a Hugging Face model was loaded: the service's own lines, and nothing of its libraries."""

import json
import re

from e2e.process import Service
from safetensors.torch import load_file, save_file
from word_models import save, tiny_llama, word_tokenizer

OWN_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z]+ service\.[\w.]+: .+")


def test_loading_a_hugging_face_model_leaves_only_the_services_own_lines(service: Service) -> None:
    directory = save(tiny_llama(), word_tokenizer(), service.own_root / "reported")
    weights = directory / "model.safetensors"
    spare = {"model.layers.0.spare.weight": load_file(weights)["model.norm.weight"]}
    save_file(load_file(weights) | spare, weights, {"format": "pt"})  # transformers reports what has no place
    before = len(service.log)

    service.register("reported", {"kind": "huggingface", "path": "reported"})
    body = {"inputs": {"text": ["the cat"]}, "parameters": {"max_new_tokens": 2}}
    assert service.http.post("/models/reported/infer", json=body).status_code == 200

    lines = service.log[before:].splitlines()
    assert any("model reported was built" in line for line in lines)
    others = [line for line in lines if not OWN_LINE.fullmatch(line)]
    assert {json.loads(line)["logger"] for line in others} == {"audit"}, "events are lines for a SIEM, always JSON"
