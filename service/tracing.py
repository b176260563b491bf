"""Traces over OTLP, off unless OpenTelemetry's own variables name a collector.

FastAPI makes a span for each request and reads `traceparent`; what is below a request are our spans. The poller and
other threads of ours make none, because a trace without a request is noise.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import BinaryIO

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Tracer, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from models_registry.storage.blobs import BlobStore
from models_registry.storage.digests import StoredBlob


def open_tracing() -> TracerProvider:
    """What makes spans, as the `OTEL_` variables say. Nothing is sent before `start_export`."""
    # A name given here would override the environment's, so it is given only where the environment has none.
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(
        resource=Resource.create({} if named else {SERVICE_NAME: "adapter-service"}), shutdown_on_exit=False
    )
    provider.sampler = OnlyRequests(provider.sampler)
    return provider


def start_export(provider: TracerProvider) -> None:
    """Send spans to the collector by a thread of its own. The provider's `shutdown` sends what is left."""
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))


class OnlyRequests(Sampler):
    """No trace begins but at a request; of those, as many as the operator's sampler takes."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if kind is not SpanKind.SERVER and not get_current_span(parent_context).get_span_context().is_valid:
            return SamplingResult(Decision.DROP)
        return self._sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"OnlyRequests({self._sampler.get_description()})"


class TracedBlobs:
    """A blob store whose reads and writes are spans."""

    def __init__(self, blobs: BlobStore, tracer: Tracer) -> None:
        self._blobs = blobs
        self._tracer = tracer

    def put(self, data: bytes | memoryview) -> str:
        with self._tracer.start_as_current_span("put blob", attributes={"bytes": len(data)}):
            return self._blobs.put(data)

    def get(self, digest: str) -> bytes:
        with self._tracer.start_as_current_span("get blob", attributes={"digest": digest}):
            return self._blobs.get(digest)

    def open(self, digest: str) -> BinaryIO:
        with self._tracer.start_as_current_span("open blob", attributes={"digest": digest}):
            return self._blobs.open(digest)

    def delete_older(self, digest: str, before: datetime) -> bool:
        return self._blobs.delete_older(digest, before)

    def list_blobs(self) -> Iterator[StoredBlob]:
        return self._blobs.list_blobs()

    def sweep_partials(self, before: datetime) -> int:
        return self._blobs.sweep_partials(before)

    def presign(self, digest: str, expires_s: int) -> str | None:
        return self._blobs.presign(digest, expires_s)

    def ping(self) -> None:
        self._blobs.ping()
