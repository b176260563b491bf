"""What was used, as both clients tell it."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np

from service.client import AsyncClient, Client

ROWS = np.array([[1.0, 2.0, 3.0, 4.0]], "f4")


def test_a_call_is_counted_for_its_model(client: Client) -> None:
    def of_model() -> int:
        return {used.raw["model"]: used.requests for used in client.usage("model")}.get("mlp", 0)

    before = of_model()
    client.infer("mlp", {"x": ROWS})
    assert of_model() == before + 1


def test_both_clients_read_the_same_hours(client: Client, address: str) -> None:
    client.infer("mlp", {"x": ROWS})
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    async def usage(since: datetime) -> int:
        async with AsyncClient(address) as own:
            return (await own.usage(since=since))[0].requests

    for since in (tomorrow, tomorrow - timedelta(days=2)):
        assert asyncio.run(usage(since)) == client.usage(since=since)[0].requests
    assert client.usage(since=tomorrow)[0].requests == 0
