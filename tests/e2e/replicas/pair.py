"""Two services that are to behave as one, a model that both host, and how it is asked."""

from typing import Any, Final, NamedTuple

import httpx
import torch
from e2e.process import Service
from safetensors.torch import save

MODEL: Final = "mlp"
SOURCE: Final = {"kind": "python", "factory": "bases:mlp"}
LORA: Final = {"peft_type": "LORA", "r": 2, "target_modules": ["first", "second"], "init_lora_weights": False}
ROWS: Final = [[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 0.0, 2.0]]
SAFETENSORS: Final = {"Content-Type": "application/vnd.safetensors"}


class Pair(NamedTuple):
    one: Service
    other: Service


def infer(service: Service, adapter: str | None, model: str = MODEL, **headers: str) -> httpx.Response:
    body = {"adapter": adapter, "inputs": {"x": ROWS}}
    return service.http.post(f"/models/{model}/infer", json=body, headers=headers)


def answered_by(service: Service, adapter: str | None, **headers: str) -> Any:
    """The exact version that answers, or the status where none does."""
    answer = infer(service, adapter, **headers)
    return answer.json()["adapter"][0] if answer.status_code == 200 else answer.status_code


def weights(seed: int) -> bytes:
    """An upload that fits `LORA`."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (4, 8), "second": (8, 3)}
    return save(
        {
            f"{module}.lora_{side}.weight": torch.randn(shape, generator=generator)
            for module, (narrow, wide) in shapes.items()
            for side, shape in (("A", (2, narrow)), ("B", (wide, 2)))
        }
    )


def put_state(service: Service, name: str, seed: int, **headers: str) -> httpx.Response:
    return service.http.put(f"/adapters/{name}/state", content=weights(seed), headers=SAFETENSORS | headers)
