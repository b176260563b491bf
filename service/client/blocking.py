"""The client for plain Python: scripts, notebooks, training jobs.

    client = Client("http://127.0.0.1:8000")
    client.adapters.push("tone", "./checkpoint", model="minilm")
    answer = client.infer("minilm", ["a text"], adapter="tone@prod")

Errors are exceptions (`errors.py`), results are frozen values (`records.py`).
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from typing import Any, Self, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent

from service.client import inference_calls, streams
from service.client.adapters import Adapters
from service.client.calls import Call, follow
from service.client.connection import headers_of, read_answer, receive, request_of, sent, unreachable
from service.client.errors import error_of
from service.client.events import Events
from service.client.inference_calls import Choice, Texts
from service.client.models import Models
from service.client.records import Answer
from service.client.retries import Retries
from service.client.rollouts import Rollouts
from service.client.service_calls import ServiceState, read_state
from service.client.streams import Written, read_event
from service.client.usage_calls import Used, read_usage

T = TypeVar("T")


class Client:
    """Calls one service. Use it as a context manager, or `close` it. Threads may share it.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=headers_of(key), timeout=timeout_s, transport=transport)
        self._retries = retries or Retries()
        self.models = Models(self._send)
        self.adapters = Adapters(self._send)
        self.events = Events(self._send, self._stream)
        self.rollouts = Rollouts(self._send)

    def infer(
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
        return self._send(inference_calls.infer(model, inputs, adapter, outputs, parameters, timeout_s, routing_key))

    def generate(
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
        return self._send(inference_calls.infer(model, texts, adapter, None, parameters, timeout_s, routing_key)).texts[
            "text"
        ]

    def stream(
        self,
        model: str,
        texts: Texts,
        *,
        adapter: Choice | Sequence[Choice] = None,
        timeout_s: float | None = None,
        routing_key: str | None = None,
        **parameters: Any,
    ) -> Generator[Written]:
        """As `generate`, while it is written: a `TextPiece` for each piece, a `TextEnd` where a row's text ends. The
        text that nobody reads any more isn't written further."""
        call = streams.stream(model, texts, adapter, parameters, timeout_s, routing_key)
        with closing(self._stream(call)) as events:
            for event in events:
                if (written := read_event(event)) is not None:
                    yield written

    def usage(self, *by: str, since: datetime | None = None, until: datetime | None = None) -> tuple[Used, ...]:
        """What was used: one for each group of the parts `by` (`"team"`, `"model"`, `"adapter"`, `"version"`, `"key"`,
        `"hour"`), without them one in all; of the hours between two times, which without a zone are UTC."""
        return self._send(read_usage(by, since, until))

    def state(self) -> ServiceState:
        """The service's version, and what of it is away. Raises `Unavailable` while it isn't ready."""
        return follow(self._send, read_state())

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call[T], /) -> T:
        return self._retries.blocking(call.repeatable)(lambda: self._send_once(call))

    def _send_once(self, call: Call[T]) -> T:
        try:
            with sent(self._http, call) as answer:
                if answer.is_success and call.into is not None:
                    receive(answer, call.into, call.watch)
                else:
                    answer.read()
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        if answer.is_success:
            return read_answer(call, answer)
        raise error_of(answer)

    def _stream(self, call: Call[None]) -> Generator[ServerSentEvent]:
        answer = self._retries.blocking(call.repeatable)(self._open_once, call)
        try:
            yield from EventSource(answer).iter_sse()
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        finally:
            answer.close()

    def _open_once(self, call: Call[None]) -> httpx.Response:
        try:
            with ExitStack() as files:
                answer = self._http.send(request_of(self._http, call, files), stream=True)
            if not answer.is_success:
                answer.read()
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        if answer.is_success:
            return answer
        raise error_of(answer)
