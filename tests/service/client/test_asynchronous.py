"""The client for asyncio has the blocking one's names, and does the same."""

import asyncio
import inspect
from pathlib import Path

import numpy as np
import pytest
from apps import LORA

from service.client import AsyncClient, CheckpointFiles, Client, NotFound
from service.client.adapters import Adapters
from service.client.async_adapters import AsyncAdapters
from service.client.events import AsyncEvents, Events
from service.client.models import AsyncModels, Models
from service.client.rollouts import AsyncRollouts, Rollouts

ROWS = np.array([[1.0, 2.0, 3.0, 4.0]], "f4")


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [
        (Client, AsyncClient),
        (Models, AsyncModels),
        (Adapters, AsyncAdapters),
        (Events, AsyncEvents),
        (Rollouts, AsyncRollouts),
    ],
)
def test_both_clients_have_the_same_methods(blocking: type, asynchronous: type) -> None:
    def parameters(kind: type) -> dict[str, list[str]]:
        public = {name: method for name, method in inspect.getmembers(kind, callable) if not name.startswith("_")}
        return {name: list(inspect.signature(method).parameters) for name, method in public.items()}

    assert parameters(blocking) == parameters(asynchronous)


def test_an_adapter_lives_and_answers(client: Client, address: str, tmp_path: Path) -> None:
    weights = {"first.lora_A.weight": np.ones((2, 4), "f4"), "first.lora_B.weight": np.ones((8, 2), "f4")}
    files = CheckpointFiles.of({**LORA, "target_modules": ["first"]}, weights)

    async def live() -> None:
        async with AsyncClient(address) as own:
            await own.adapters.push("async", files, model="mlp")
            await own.adapters.promote("async", 1, alias="prod")
            answers = await asyncio.gather(*(own.infer("mlp", {"x": ROWS}, adapter="async@prod") for _ in range(8)))
            assert {answer.adapter for answer in answers} == {("async@1",)}
            assert "async" in [adapter.name async for adapter in own.adapters.list()]
            assert [model.id async for model in own.models.list()] == ["mlp"]
            pulled = CheckpointFiles.open(await own.adapters.pull("async@prod", tmp_path))
            assert pulled.config
            with pytest.raises(NotFound):
                await own.adapters.get("nobody")

    asyncio.run(live())
    assert client.adapters.get("async").aliases == {"prod": 1}
