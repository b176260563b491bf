"""The process's log: one form for every line of every logger. No text inside a line can look like a line.

A record's message may quote a file's name, an address or a library's complaint, so that control characters are escaped
and secrets are hidden here, once, for all of them. As text, a record begins with its time and further lines of it (a
stack trace) are indented; as JSON it is one object. Lines of the logger `audit` are objects in either form.
"""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TypeAlias

from asgi_correlation_id import correlation_id
from opentelemetry.trace import format_trace_id, get_current_span

LogFormat: TypeAlias = Literal["text", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
Redact: TypeAlias = Callable[[str], str]

LONGEST_MESSAGE, LONGEST_TRACE = 16_384, 65_536
"""In characters: what a line quotes may be as long as a request."""
INDENT = "    "

log = logging.getLogger(__name__)


class LineFormatter(logging.Formatter):
    """What both forms share: the parts of a record, without secrets."""

    def __init__(self, redact: Redact, model: str | None = None) -> None:
        """`model`: the base model whose host writes these lines."""
        super().__init__()
        self._redact = redact
        self.model = model

    def message_of(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception as error:  # somebody's arguments don't fit their message: both are worth a line
            message = f"{record.msg} {record.args!r} ({type(error).__name__}: {error})"
        return self._shown(message, LONGEST_MESSAGE)

    def trace_of(self, record: logging.LogRecord) -> str:
        """The exception and the stack that came with it; empty where there are none."""
        traced = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        return self._shown(
            "\n".join(part for part in (traced.rstrip(), record.stack_info or "") if part), LONGEST_TRACE
        )

    def _shown(self, text: str, longest: int) -> str:
        # More than what is shown, so that no secret stands half behind the cut.
        shown = self._redact(text[: 2 * longest])
        return shown if len(text) <= longest else f"{shown[:longest]}… ({len(text)} characters in all)"


class TextFormatter(LineFormatter):
    """`2026-11-28T05:15:48.123Z INFO service.front.api.middleware.request_log: …`, a stack trace indented below."""

    def format(self, record: logging.LogRecord) -> str:
        writer = record.name if self.model is None else f"{record.name} [{self.model}]"
        line = f"{_time_of(record)} {record.levelname} {writer}: {visible(self.message_of(record))}"
        return "\n".join([line, *(INDENT + visible(part) for part in self.trace_of(record).splitlines())])


class JsonFormatter(LineFormatter):
    """One object a record, in ASCII: `time`, `level`, `logger`, `message`, in a request `request_id`, in a trace
    `trace_id`, and `exception`.

    A record that was given `extra={"fields": {…}}` has these beside them.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "message": self.message_of(record),
            **getattr(record, "fields", {}),
        }
        if self.model is not None:
            entry["model"] = self.model
        if request_id := correlation_id.get():
            entry["request_id"] = request_id
        if (span := get_current_span().get_span_context()).is_valid:
            entry["trace_id"] = format_trace_id(span.trace_id)
        if trace := self.trace_of(record):
            entry["exception"] = trace
        return json.dumps(entry, default=_plain)


def visible(text: str) -> str:
    """`text` on one line: whatever doesn't print, ends a line or turns the direction of writing is escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def start_log(form: LogFormat, redact: Redact, model: str | None = None, level: LogLevel = "info") -> None:
    """Send every record of `level` and above to stderr, also what threads and libraries would write there themselves.
    The lines of a `model`'s host carry its name. DEBUG is of our own packages alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(redact, model) if form == "json" else TextFormatter(redact, model))
    logging.basicConfig(level="INFO" if level == "debug" else level.upper(), handlers=[handler])
    if level == "debug":
        for package in ("service", "models_registry"):
            logging.getLogger(package).setLevel(logging.DEBUG)
    if form == "text":
        # What reads these lines is a machine, whatever the others are written for.
        lines = logging.StreamHandler(sys.stderr)
        lines.setFormatter(JsonFormatter(redact, model))
        audit = logging.getLogger("audit")
        audit.handlers, audit.propagate = [lines], False
    logging.captureWarnings(True)
    # What libraries report on their own work is for developers: migrations one by one, deprecations.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    sys.excepthook = _log_the_end
    threading.excepthook = _log_a_threads_end


def quiet_libraries() -> None:
    """Keep progress bars and reports out of the log. Before torch and transformers are imported, which read these."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Requests run beside each other already; for a single text, handing it to a pool takes longer than reading it.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def adopt_loggers(*libraries: str) -> None:
    """Have these libraries, which write to stderr by handlers of their own, write to our log."""
    for name in libraries:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _time_of(record: logging.LogRecord) -> str:
    return _written(datetime.fromtimestamp(record.created, UTC), "milliseconds")


def _written(at: datetime, timespec: str) -> str:
    return at.isoformat(timespec=timespec).replace("+00:00", "Z")


def _plain(value: object) -> str:
    """What JSON has no form for; times as the API writes them."""
    return _written(value, "microseconds") if isinstance(value, datetime) else str(value)


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("the process ends: %s", kind.__name__, exc_info=(kind, error, trace))


def _log_a_threads_end(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "a thread"
    error = ended.exc_value or ended.exc_type()
    log.error(
        "thread %s ended: %s", name, ended.exc_type.__name__, exc_info=(ended.exc_type, error, ended.exc_traceback)
    )
