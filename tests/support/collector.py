"""A collector of traces: what an OTLP exporter sends over HTTP, as spans."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class CollectedSpan:
    name: str
    trace: str
    id: str
    parent: str
    begun_ns: int
    ended_ns: int
    failed: bool
    attributes: dict[str, Any]
    events: tuple[str, ...]
    service: str


@dataclass
class Collector:
    endpoint: str
    spans: list[CollectedSpan] = field(default_factory=list[CollectedSpan])

    def named(self, name: str) -> list[CollectedSpan]:
        return [span for span in self.spans if span.name == name]

    def below(self, parent: CollectedSpan) -> dict[str, CollectedSpan]:
        """Its children by name."""
        return {span.name: span for span in self.spans if span.parent == parent.id}


@contextmanager
def collecting() -> Generator[Collector]:
    """A collector on this machine, of what is sent inside."""

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _spans(sent: ExportTraceServiceRequest) -> list[CollectedSpan]:
    return [
        CollectedSpan(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code == 2,
            _values(span.attributes),
            tuple(event.name for event in span.events),
            _values(resource.resource.attributes)["service.name"],
        )
        for resource in sent.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
