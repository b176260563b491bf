"""The client for asyncio; its names are those of the blocking one.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        answer = await client.infer("minilm", ["a text"], adapter="tone@prod")

Errors are exceptions (`errors.py`), results are frozen values (`records.py`).
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from datetime import datetime
from typing import Any, Self, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent

from service.client import inference_calls, streams
from service.client.async_adapters import AsyncAdapters
from service.client.calls import Call, follow_async
from service.client.connection import headers_of, read_answer, receive_async, request_of, sent_async, unreachable
from service.client.errors import error_of
from service.client.events import AsyncEvents
from service.client.inference_calls import Choice, Texts
from service.client.models import AsyncModels
from service.client.records import Answer
from service.client.retries import Retries
from service.client.rollouts import AsyncRollouts
from service.client.service_calls import ServiceState, read_state
from service.client.streams import Written, read_event
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
        self.events = AsyncEvents(self._send, self._stream)
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

    async def stream(
        self,
        model: str,
        texts: Texts,
        *,
        adapter: Choice | Sequence[Choice] = None,
        timeout_s: float | None = None,
        routing_key: str | None = None,
        **parameters: Any,
    ) -> AsyncGenerator[Written]:
        """As `generate`, while it is written: a `TextPiece` for each piece, a `TextEnd` where a row's text ends. The
        text that nobody reads any more isn't written further."""
        call = streams.stream(model, texts, adapter, parameters, timeout_s, routing_key)
        async with aclosing(self._stream(call)) as events:
            async for event in events:
                if (written := read_event(event)) is not None:
                    yield written

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
            async with sent_async(self._http, call) as answer:
                if answer.is_success and call.into is not None:
                    await receive_async(answer, call.into, call.watch)
                else:
                    await answer.aread()
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        if answer.is_success:
            return read_answer(call, answer)
        raise error_of(answer)

    async def _stream(self, call: Call[None]) -> AsyncGenerator[ServerSentEvent]:
        answer = await self._retries.asynchronous(call.repeatable)(self._open_once, call)
        try:
            async for event in EventSource(answer).aiter_sse():
                yield event
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        finally:
            await answer.aclose()

    async def _open_once(self, call: Call[None]) -> httpx.Response:
        try:
            with ExitStack() as files:
                answer = await self._http.send(request_of(self._http, call, files), stream=True)
            if not answer.is_success:
                await answer.aread()
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        if answer.is_success:
            return answer
        raise error_of(answer)
