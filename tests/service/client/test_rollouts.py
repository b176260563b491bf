"""Splits, shadows and what was counted, by both clients."""

import asyncio

import numpy as np
import pytest
from apps import RANDOM_LORA

from service.client import AsyncClient, CheckpointFiles, Client, Conflict, Invalid

CONFIG = {"peft_type": "LORA", "r": 2, "target_modules": ["first"]}
ROWS = np.ones((2, 4), "f4")


def push_two(client: Client, name: str) -> None:
    for number in (1.0, 2.0):
        weights = {
            "first.lora_A.weight": np.full((2, 4), number, "f4"),
            "first.lora_B.weight": np.ones((8, 2), "f4"),
        }
        client.adapters.push(name, CheckpointFiles.of(CONFIG, weights), model="mlp")


def test_a_split_sticks_to_routing_keys_and_is_compared(client: Client) -> None:
    push_two(client, "split")
    made = client.rollouts.split("split", "prod", {1: 0.5, 2: 0.5})
    assert (made.versions, made.shadow) == ({1: 0.5, 2: 0.5}, None)

    def answering(key: str) -> object:
        return client.infer("mlp", {"x": ROWS}, adapter="split@prod", routing_key=key).adapter[0]

    first = [answering(f"user-{number}") for number in range(12)]
    assert set(first) == {"split@1", "split@2"}
    assert [answering(f"user-{number}") for number in range(12)] == first
    counted = client.rollouts.compare("split", "prod")
    assert [version.requests for version in counted.versions] == [2 * first.count(f"split@{n}") for n in (1, 2)]
    assert all(version.p95_ms and version.errors == 0 for version in counted.versions)
    with pytest.raises(Invalid, match="versions"):
        client.rollouts.split("split", "prod", {1: 0.5, 2: 0.4})
    client.adapters.promote("split", 2, alias="prod")
    assert client.adapters.get("split").aliases == {"prod": 2}


def test_a_list_is_filtered_and_sorted(client: Client) -> None:
    for name in ("found-a", "found-b"):
        client.adapters.create(name, CONFIG, model="mlp", seed=1)
        client.adapters.describe(name, labels={"suite": "found", "name": name[-1]})
    found = client.adapters.list(labels="suite=found", sort="-created")
    assert [adapter.name for adapter in found] == ["found-b", "found-a"]
    assert [adapter.name for adapter in client.adapters.list(model="mlp", labels="name in (b)")] == ["found-b"]


def test_the_client_for_asyncio_splits_and_compares(client: Client, address: str) -> None:
    push_two(client, "async-split")

    async def live() -> None:
        async with AsyncClient(address) as own:
            made = await own.rollouts.split("async-split", "prod", {1: 1.0}, shadow=2, shadow_share=0.5)
            assert (made.shadow, made.shadow_share) == (2, 0.5)
            await own.infer("mlp", {"x": ROWS}, adapter="async-split@prod", routing_key="user-1")
            (version,) = (await own.rollouts.compare("async-split", "prod")).versions
            assert (version.version, version.requests) == (1, 1)

    asyncio.run(live())


def test_a_rollback_is_one_step_with_its_reason(client: Client) -> None:
    client.adapters.create("stepped", RANDOM_LORA, model="mlp", seed=1)
    weights = client.adapters.state("stepped")
    doubled = {key: 2 * array for key, array in weights.items()}
    client.adapters.push("stepped", (doubled, RANDOM_LORA), model="mlp")
    for number in (1, 2):
        client.adapters.promote("stepped", number, alias="prod")
    assert client.adapters.rollback("stepped", "prod", reason="worse").versions == {1: 1.0}
    assert client.adapters.get("stepped").aliases == {"prod": 1}
    with pytest.raises(Conflict, match="nothing to go back to"):
        client.adapters.rollback("stepped", "prod")
    client.adapters.delete_alias("stepped", "prod", reason="over")
    reasons = [event.raw["reason"] for event in client.events.list(adapter="stepped", kind="alias")]
    assert reasons[-2:] == ["worse", "over"]
