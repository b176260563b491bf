"""The database's statements as spans of whichever trace runs around them; none where nothing records."""

from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, get_current_span
from sqlalchemy import Connection, Engine, ExceptionContext, event

_SPAN = "adapter_service.span"


def trace_queries(engine: Engine, tracer: Tracer) -> None:
    """Also of the engines that differ from it by execution options only. A span has the statement, never its values."""

    def begin(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if get_current_span().is_recording():
            attributes = {"db.system.name": engine.dialect.name, "db.query.text": statement}
            name = statement.partition(" ")[0].strip() or "statement"
            connection.info[_SPAN] = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

    def end(connection: Connection, *_: Any) -> None:
        span: Span | None = connection.info.pop(_SPAN, None)
        if span is not None:
            span.end()

    def fail(context: ExceptionContext) -> None:
        span: Span | None = None if context.connection is None else context.connection.info.pop(_SPAN, None)
        if span is not None:
            # Its text holds the statement's values.
            span.set_status(Status(StatusCode.ERROR, type(context.original_exception).__name__))
            span.end()

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)
    event.listen(engine, "handle_error", fail)
