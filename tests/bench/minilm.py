"""minilm over HTTP: what is hosted and asked. Rank 16 on all linear layers, texts of 16 words, 64 callers at once."""

import json
from collections.abc import Mapping, Sequence

from tests.bench.client import post_all
from tests.e2e.process import Service

ADAPTERS, CALLERS = 16, 64
TOKENS = 18  # of the text below, with the two that the tokenizer adds
TEXT = "the ship leaves a harbour at dawn and comes back with bread for the long winter"
LORA = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": "all-linear", "init_lora_weights": False}
SMALL = {"peft_type": "LORA", "r": 1, "target_modules": ["encoder.layer.0.attention.self.query"]}


def host(service: Service, id: str, dtype: str = "float32") -> None:
    service.register(id, {"kind": "huggingface", "path": "minilm"}, dtype=dtype)


def inject(service: Service, model: str, names: Sequence[str], config: Mapping[str, object] = LORA) -> list[bytes]:
    """Adapters of those names, and a request to each."""
    for seed, name in enumerate(names):
        body = {"name": name, "config": config, "seed": seed}
        service.http.post(f"/models/{model}/adapters", json=body).raise_for_status()
    return [request(name) for name in names]


def request(adapter: str | None) -> bytes:
    return json.dumps({"adapter": adapter, "inputs": {"text": [TEXT]}, "outputs": ["embedding"]}).encode()


def ask(service: Service, model: str, bodies: Sequence[bytes], requests: int, callers: int = CALLERS) -> None:
    post_all(service.port, f"/models/{model}/infer", bodies, callers, requests)
