"""What a trace shows of one inference: its way to the host, its stages there, and each step that wrote text.

The host measures its stages and says how long they took. The spans are made here, of these figures, so that a host
needs no collector's address and no key to it.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry.trace import Span, Status, StatusCode, Tracer, get_current_span, set_span_in_context

from service.front.requests import InferAnswer
from service.protocol.texts import OnPart, TextPart

_NS_PER_MS = 1_000_000


class InferenceTrace:
    """One attempt at a request. Where nothing records, nothing is done."""

    def __init__(self, span: Span, tracer: Tracer) -> None:
        self._span = span
        self._tracer = tracer
        self._begun_ns = time.time_ns()

    def watch(self, on_part: OnPart | None) -> OnPart | None:
        """`on_part`, and an event for each part of a text that a step has written."""
        if not self._span.is_recording():
            return on_part

        def hear(part: TextPart) -> None:
            self._span.add_event("step", {"row": part.row, "characters": len(part.text), "ended": part.end is not None})
            if on_part is not None:
                on_part(part)

        return hear

    @contextmanager
    def resolving(self) -> Generator[None]:
        """References become exact versions inside."""
        if not self._span.is_recording():
            yield
            return
        with self._tracer.start_as_current_span("resolve"):
            yield

    def answered(self, answer: InferAnswer) -> None:
        """The stages one after the other, as they were."""
        if not self._span.is_recording():
            return
        self._span.set_attribute("adapters", sorted({str(choice) for choice in answer.adapter if choice is not None}))
        beside = set_span_in_context(self._span)
        begun_ns = self._begun_ns + int(answer.hop_ms / 2 * _NS_PER_MS)
        for name, took_ms in (("wait", answer.queue_ms), ("load", answer.load_ms), ("forward", answer.forward_ms)):
            ended_ns = begun_ns + int(took_ms * _NS_PER_MS)
            if took_ms:
                self._tracer.start_span(name, beside, start_time=begun_ns).end(ended_ns)
            begun_ns = ended_ns


class InferenceTracer:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def attempt(self, model: str) -> Generator[InferenceTrace]:
        """The span of whatever runs inside; an error ends it as one."""
        request = get_current_span()
        if not request.is_recording():
            yield InferenceTrace(request, self._tracer)
            return
        with self._tracer.start_as_current_span(
            "infer", attributes={"model": model}, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield InferenceTrace(span, self._tracer)
            except BaseException as error:
                # Its message may quote what the caller sent.
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
