"""The client for asyncio; its names are those of the blocking one.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        answer = await client.infer("minilm", ["a text"], adapter="tone@prod")

Errors are exceptions (`errors.py`), results are frozen values (`records.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from httpx_sse import EventSource

from service.client import adapter_calls, inference_calls, model_calls, streams
from service.client.calls import Call, SendAsync, follow_async
from service.client.checkpoints import CheckpointFiles, as_files
from service.client.connection import headers_of, options_of, unreachable
from service.client.difference_calls import Difference, get_difference
from service.client.errors import error_of
from service.client.event_calls import Event, list_events
from service.client.inference_calls import Choice, Texts
from service.client.paging import items_async
from service.client.records import Adapter, Answer, Model, Pushed
from service.client.retries import Retries
from service.client.rollouts import AsyncRollouts
from service.client.service_calls import ServiceState, read_state
from service.client.streams import Written, read_event
from service.client.tensors import Array
from service.client.usage_calls import Used, read_usage

T = TypeVar("T")


class AsyncClient:
    """Calls one service. Use it as an async context manager, or `close` it. Tasks may share it.

    Args:
        url: the service's address.
        key: an API key, sent as a bearer token.
        timeout_s: how long one answer may take, where a call says nothing else.
        retries: how often a call is tried where the service is busy or away.
        transport: httpx's own, such as one with a proxy or with certificates.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=headers_of(key), timeout=timeout_s, transport=transport)
        self._retries = retries or Retries()
        self.models = AsyncModels(self._send)
        self.adapters = AsyncAdapters(self._send)
        self.events = AsyncEvents(self._send)
        self.rollouts = AsyncRollouts(self._send)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any] | Texts,
        *,
        adapter: Choice | Sequence[Choice] = None,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        routing_key: str | None = None,
    ) -> Answer:
        """Run the model on `inputs`, with one adapter for all rows or one for each.

        Args:
            inputs: named arrays whose leading dimension is the rows, or texts, or chats, one for each row.
            adapter: a reference (`"tone@prod"`), a composition (`{"a": 0.7, "b": 0.3}`), None for the base, or a list.
            outputs: only these of the model's outputs.
            parameters: have a language model write, as `generate` does.
            timeout_s: the request's deadline; past it `DeadlinePassed` is raised.
            routing_key: requests with the same one get the same version of an alias that splits.
        """
        return await self._send(
            inference_calls.infer(model, inputs, adapter, outputs, parameters, timeout_s, routing_key)
        )

    async def generate(
        self,
        model: str,
        texts: Texts,
        *,
        adapter: Choice | Sequence[Choice] = None,
        timeout_s: float | None = None,
        routing_key: str | None = None,
        **parameters: Any,
    ) -> tuple[str, ...]:
        """What a language model writes after each text, or answers in each chat. `parameters` are those of
        `POST …/infer`, such as `max_new_tokens`."""
        answer = await self._send(
            inference_calls.infer(model, texts, adapter, None, parameters, timeout_s, routing_key)
        )
        return answer.texts["text"]

    def stream(
        self,
        model: str,
        texts: Texts,
        *,
        adapter: Choice | Sequence[Choice] = None,
        timeout_s: float | None = None,
        routing_key: str | None = None,
        **parameters: Any,
    ) -> AsyncIterator[Written]:
        """As `generate`, while it is written: a `TextPiece` for each piece, a `TextEnd` where a row's text ends. The
        text that nobody reads any more isn't written further."""
        return self._events(streams.stream(model, texts, adapter, parameters, timeout_s, routing_key))

    async def usage(self, *by: str, since: datetime | None = None, until: datetime | None = None) -> tuple[Used, ...]:
        """What was used: one for each group of the parts `by` (`"team"`, `"model"`, `"adapter"`, `"version"`, `"key"`,
        `"hour"`), without them one in all; of the hours between two times, which without a zone are UTC."""
        return await self._send(read_usage(by, since, until))

    async def state(self) -> ServiceState:
        """The service's version, and what of it is away. Raises `Unavailable` while it isn't ready."""
        return await follow_async(self._send, read_state())

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, call: Call[T], /) -> T:
        return await self._retries.asynchronous(call.repeatable)(self._send_once, call)

    async def _send_once(self, call: Call[T]) -> T:
        try:
            answer = await self._http.request(call.method, call.path, **options_of(call))
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        if answer.is_success:
            return call.read(answer)
        raise error_of(answer)

    async def _events(self, call: Call[None]) -> AsyncIterator[Written]:
        answer = await self._retries.asynchronous(call.repeatable)(self._open_once, call)
        try:
            async for event in EventSource(answer).aiter_sse():
                if (written := read_event(event)) is not None:
                    yield written
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        finally:
            await answer.aclose()

    async def _open_once(self, call: Call[None]) -> httpx.Response:
        request = self._http.build_request(call.method, call.path, **options_of(call))
        try:
            answer = await self._http.send(request, stream=True)
            if not answer.is_success:
                await answer.aread()
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        if answer.is_success:
            return answer
        raise error_of(answer)


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

    async def load(self, id: str) -> Model:
        """Begin to load it into memory."""
        return await self._send(model_calls.load_model(id))

    async def unload(self, id: str) -> Model:
        """Take it out of memory; its registration and its adapters stay."""
        return await self._send(model_calls.unload_model(id))

    async def delete(self, id: str, *, cascade: bool = False) -> None:
        """Forget it; with `cascade` its adapters too."""
        await self._send(model_calls.delete_model(id, cascade))


class AsyncAdapters:
    """Adapters: `client.adapters`."""

    def __init__(self, send: SendAsync) -> None:
        self._send = send

    async def push(
        self,
        name: str,
        checkpoint: str | Path | CheckpointFiles,
        *,
        model: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> Pushed:
        """Store a trained adapter: a new one, or the next version of the one that has this name.

        Where the newest version has the same config and bytes already, nothing is stored (`unchanged`).

        Args:
            checkpoint: the directory that PEFT's `save_pretrained` wrote, or `CheckpointFiles`.
            model: the base model that a new adapter belongs to.

        Raises:
            FileNotFoundError: the directory lacks one of PEFT's two files.
            Invalid: it doesn't fit the base model; `errors` lists everything.
        """
        return await follow_async(self._send, adapter_calls.push(name, as_files(checkpoint), model, metadata or {}))

    async def check(self, name: str, checkpoint: str | Path | CheckpointFiles, *, model: str) -> Pushed:
        """What pushing it would come to: its warnings, and the version that it would make. Nothing is stored."""
        return await follow_async(self._send, adapter_calls.check(name, as_files(checkpoint), model))

    async def create(
        self,
        name: str,
        config: Mapping[str, Any],
        *,
        model: str,
        seed: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Pushed:
        """A new adapter with its method's own initial weights; `config` is PEFT's adapter_config.json."""
        return await self._send(adapter_calls.create_adapter(name, config, model, seed, metadata or {}))

    async def compose(self, name: str, adapters: Mapping[str, float], *, model: str, **options: Any) -> Pushed:
        """Merge stored adapters, by reference with their weights, into a new one; `options` as `method="svd"`."""
        return await self._send(adapter_calls.compose(name, adapters, model, options))

    async def get(self, name: str) -> Adapter:
        """Its versions and aliases."""
        return await self._send(adapter_calls.get_adapter(name))

    def list(self, *, model: str | None = None, **filters: str) -> AsyncIterator[Adapter]:
        """Every adapter, or those of one base model, by name; `filters` are those of `GET /adapters`, such as
        `labels="stage=prod"` and `sort="-used"`."""
        return items_async(self._send, adapter_calls.list_adapters(model, filters))

    async def config(self, reference: str) -> dict[str, Any]:
        """The adapter_config.json of `tone`, `tone@3` or `tone@prod`."""
        return await self._send(adapter_calls.get_config(reference))

    async def state(self, reference: str) -> dict[str, Array]:
        """The state dict of `tone`, `tone@3` or `tone@prod`, as arrays."""
        return await self._send(adapter_calls.get_state(reference))

    async def pull(self, reference: str, directory: str | Path) -> Path:
        """Write PEFT's two files into `directory`, from which `PeftModel.from_pretrained` loads them."""
        files = await follow_async(self._send, adapter_calls.pull(reference))
        return files.save(directory)

    async def diff(self, reference: str, *, before: str | None = None) -> Difference:
        """What changed since another version (`before`, a reference; None: the version before): the config's keys, and
        what each module gets added."""
        return await self._send(get_difference(reference, before))

    async def promote(self, name: str, version: int, *, alias: str, reason: str | None = None) -> None:
        """Let `name@alias` be this version, in one step. The `reason` stands in the event."""
        await self._send(adapter_calls.move_alias(name, alias, version, reason))

    async def describe(self, name: str, **words: Any) -> Adapter:
        """Change what its team says of it: `labels` (all of them), `description`, `owner`, `visibility`."""
        return await self._send(adapter_calls.describe_adapter(name, words))

    async def delete_alias(self, name: str, alias: str) -> None:
        """Forget an alias; its version stays."""
        await self._send(adapter_calls.delete_alias(name, alias))

    async def delete(self, name: str, *, version: int | None = None, drain: bool = False) -> None:
        """Remove the adapter, or one version of it; with `drain` once the requests that use it have ended."""
        await self._send(adapter_calls.delete_adapter(name, version, drain))

    async def load(self, name: str, *, model: str, pin: bool = False) -> Adapter:
        """Bring the newest version into memory now; with `pin` it stays."""
        return await self._send(adapter_calls.load_adapter(name, model, pin))

    async def unload(self, name: str, *, model: str) -> Adapter:
        """Take all versions out of memory."""
        return await self._send(adapter_calls.unload_adapter(name, model))


class AsyncEvents:
    """The log of every change that the caller may see: `client.events`."""

    def __init__(self, send: SendAsync) -> None:
        self._send = send

    async def list(self, *, after: int = 0, **filters: str | int) -> AsyncIterator[Event]:
        """Every change after the event `after`, the oldest first. `filters` are those of `GET /events`."""
        while (page := await self._send(list_events(after, filters))).items:
            for event in page.items:
                yield event
            after = page.next_after

    async def follow(self, *, after: int = 0, every_s: float = 1.0, **filters: str | int) -> AsyncIterator[Event]:
        """As `list`, and then every later change, which is looked for every `every_s` seconds; never ends."""
        while True:
            page = await self._send(list_events(after, filters))
            for event in page.items:
                yield event
            after = page.next_after
            if not page.items:
                await asyncio.sleep(every_s)
