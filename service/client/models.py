"""Base models: `client.models`, blocking and for asyncio."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from service.client import model_calls
from service.client.calls import Send, SendAsync, follow, follow_async
from service.client.model_calls import Steps
from service.client.paging import items, items_async
from service.client.records import Model


class Models:
    """Base models: `client.models`."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def get(self, id: str) -> Model:
        """Its state, and what it is."""
        return self._send(model_calls.get_model(id))

    def list(self) -> Iterator[Model]:
        """Every base model, by id."""
        return items(self._send, model_calls.list_models)

    def register(self, id: str, source: Mapping[str, Any], *, wait_s: float = 600.0, **options: Any) -> Model:
        """Register a base model and wait until it is ready, for `wait_s` seconds at most.

        `source` and `options` (`task`, `num_labels`, `dtype`, `device`, `example_inputs`) are those of `POST /models`.
        """
        return self._send(model_calls.register_model(id, source, options, wait_s))

    def load(self, id: str, *, wait_s: float = 0.0, progress: Steps | None = None) -> Model:
        """Begin to load it into memory, and wait until it is there, for `wait_s` seconds at most; `progress` is called
        with the step and with how much is done. Raises `Invalid` where it fails meanwhile."""
        return follow(self._send, model_calls.load_model(id, wait_s, progress))

    def unload(self, id: str) -> Model:
        """Take it out of memory; its registration and its adapters stay."""
        return self._send(model_calls.unload_model(id))

    def delete(self, id: str, *, cascade: bool = False) -> None:
        """Forget it; with `cascade` its adapters too."""
        self._send(model_calls.delete_model(id, cascade))


class AsyncModels:
    """Base models: `client.models`."""

    def __init__(self, send: SendAsync) -> None:
        self._send = send

    async def get(self, id: str) -> Model:
        """Its state, and what it is."""
        return await self._send(model_calls.get_model(id))

    def list(self) -> AsyncIterator[Model]:
        """Every base model, by id."""
        return items_async(self._send, model_calls.list_models)

    async def register(self, id: str, source: Mapping[str, Any], *, wait_s: float = 600.0, **options: Any) -> Model:
        """Register a base model and wait until it is ready, for `wait_s` seconds at most.

        `source` and `options` (`task`, `num_labels`, `dtype`, `device`, `example_inputs`) are those of `POST /models`.
        """
        return await self._send(model_calls.register_model(id, source, options, wait_s))

    async def load(self, id: str, *, wait_s: float = 0.0, progress: Steps | None = None) -> Model:
        """Begin to load it into memory, and wait until it is there, for `wait_s` seconds at most; `progress` is called
        with the step and with how much is done. Raises `Invalid` where it fails meanwhile."""
        return await follow_async(self._send, model_calls.load_model(id, wait_s, progress))

    async def unload(self, id: str) -> Model:
        """Take it out of memory; its registration and its adapters stay."""
        return await self._send(model_calls.unload_model(id))

    async def delete(self, id: str, *, cascade: bool = False) -> None:
        """Forget it; with `cascade` its adapters too."""
        await self._send(model_calls.delete_model(id, cascade))
