"""Adapters for the demo's encoder, created and uploaded over HTTP, and rows to ask it with."""

import json
from collections.abc import Mapping
from typing import Any, Final

import httpx
import torch
from safetensors.torch import load, save
from torch import Tensor

SAFETENSORS: Final = "application/vnd.safetensors"
CONFIGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "lora": {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query", "value", "intermediate.dense"]},
    "adalora": {"peft_type": "ADALORA", "init_r": 4, "lora_alpha": 8, "target_modules": ["query", "key"]},
    "ia3": {
        "peft_type": "IA3",
        "target_modules": ["key", "value", "output.dense"],
        "feedforward_modules": ["output.dense"],
    },
}


def create(http: httpx.Client, model: str, name: str, config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A fresh adapter."""
    answer = http.post(f"/models/{model}/adapters", json={"name": name, "config": config, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def upload(http: httpx.Client, model: str, name: str, config: Mapping[str, Any], weights: bytes) -> httpx.Response:
    files = {"config": ("adapter_config.json", json.dumps(config)), "weights": ("adapter_model.safetensors", weights)}
    return http.post(f"/models/{model}/adapters", data={"name": name}, files=files)


def state(http: httpx.Client, reference: str, **query: Any) -> bytes:
    answer = http.get(f"/adapters/{reference}/state", params=query)
    assert answer.status_code == 200, answer.text
    return answer.content


def trained(weights: bytes, seed: int) -> bytes:
    """The same tensors with other numbers in them, as if somebody had trained them."""
    generator = torch.Generator().manual_seed(seed)
    return save(
        {name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) for name, tensor in load(weights).items()}
    )


def rows(count: int, seed: int = 0) -> dict[str, Tensor]:
    """Token ids of one length; half of the rows end in padding."""
    ids = torch.randint(1000, 20000, (count, 9), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[::2, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def ask(http: httpx.Client, model: str, adapter: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs, bit by bit as the model gave them."""
    query = {"adapter": json.dumps(adapter) if isinstance(adapter, list | dict) else adapter}
    answer = http.post(
        f"/models/{model}/infer",
        params={name: value for name, value in query.items() if value is not None},
        content=save(dict(inputs)),
        headers={"Content-Type": SAFETENSORS, "Accept": SAFETENSORS},
    )
    assert answer.status_code == 200, answer.text
    return load(answer.content)


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
