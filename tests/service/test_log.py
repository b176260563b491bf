"""The log's lines: one form for all, nothing from outside that looks like a line, no secret."""

import io
import json
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from asgi_correlation_id import correlation_id
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

from models_registry.redaction import Redactor
from service import log
from service.log import JsonFormatter, TextFormatter, adopt_loggers, start_log, visible

PASSWORD = "correct-horse-battery"
REDACT = Redactor([PASSWORD])
HOSTILE = "a\nINFO: all is well\r\x1b[2J\x00\u202e\u2028\x85\udc80 é"


def record(message: str, *arguments: object, exception: BaseException | None = None, **more: Any) -> logging.LogRecord:
    exc_info = None if exception is None else (type(exception), exception, exception.__traceback__)
    made = logging.LogRecord("some.module", logging.WARNING, __file__, 1, message, arguments, exc_info)
    made.created = 1764306948.123
    made.__dict__.update(more)
    return made


def text(made: logging.LogRecord) -> str:
    return TextFormatter(REDACT).format(made)


def entry(made: logging.LogRecord) -> dict[str, Any]:
    return json.loads(JsonFormatter(REDACT).format(made))


def raised(error: Exception) -> Exception:
    """The same, with a trace."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_a_line_begins_with_its_time_level_and_logger() -> None:
    assert text(record("model %s ready", "net")) == "2025-11-28T05:15:48.123Z WARNING some.module: model net ready"


def test_control_characters_are_escaped_and_words_stay() -> None:
    shown = visible(HOSTILE)
    assert shown == r"a\nINFO: all is well\r\x1b[2J\x00\u202e\u2028\x85\udc80 é"
    assert text(record("no file %s", HOSTILE)).endswith(f"no file {shown}")


def test_a_stack_trace_is_indented_so_that_no_line_of_it_looks_like_a_record() -> None:
    first, *others = text(record("failed", exception=raised(ValueError(HOSTILE)))).splitlines()
    assert first.startswith("2025-11-28T05:15:48.123Z")
    assert others[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    assert "    INFO: all is well" in others


def test_json_is_one_object_a_line_in_ascii() -> None:
    line = JsonFormatter(REDACT).format(record("no file %s", HOSTILE, exception=raised(ValueError(HOSTILE))))
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert found["message"] == f"no file {HOSTILE}"
    assert found["exception"].startswith("Traceback")
    assert (found["time"], found["level"], found["logger"]) == ("2025-11-28T05:15:48.123Z", "WARNING", "some.module")


def test_json_has_the_requests_id_and_the_fields_of_its_record() -> None:
    token = correlation_id.set("abc")
    try:
        found = entry(record("GET", fields={"status": "200", "ms": 1.5}))
    finally:
        correlation_id.reset(token)
    assert (found["request_id"], found["status"], found["ms"]) == ("abc", "200", 1.5)
    assert "request_id" not in entry(record("idle"))


@pytest.mark.parametrize("form", [text, lambda made: json.dumps(entry(made))])
def test_no_secret_is_written_whatever_carries_it(form: Callable[[logging.LogRecord], str]) -> None:
    cause = raised(RuntimeError(f"connect(host='h', password='{PASSWORD}')"))
    error = RuntimeError("can't connect")
    error.__cause__ = cause
    carriers = [
        record(f"no connection to postgresql://me:{PASSWORD}@host/db"),
        record("it was %s", PASSWORD),
        record("failed", exception=raised(error)),
        record("too few %s %s", PASSWORD),
        record("failed", stack_info=f"Stack: {PASSWORD}"),
        record("x" * (log.LONGEST_MESSAGE - 5) + PASSWORD),
    ]
    for carrier in carriers:
        line = form(carrier)
        assert PASSWORD not in line
        assert PASSWORD[:5] not in line or "***" in line


def test_arguments_that_do_not_fit_their_message_are_shown() -> None:
    assert "too few %s %s ('one',) (TypeError: " in text(record("too few %s %s", "one"))


def test_a_line_is_as_long_as_it_may_be_and_says_how_long_it_was() -> None:
    line = text(record("%s", "x" * 1_000_000))
    assert len(line) < log.LONGEST_MESSAGE + 200
    assert line.endswith("… (1000000 characters in all)")


LOGGERS = ("alembic", "py.warnings", "noisy", "service", "models_registry")
"""Those that a test, or the start of the log, changes."""


@pytest.fixture
def started(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A log that was started as the process does, and what it has written; all is as before when the test ends."""
    root, quiet = logging.getLogger(), [logging.getLogger(name) for name in LOGGERS]
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    for logger in quiet:
        monkeypatch.setattr(logger, "level", logger.level)
        monkeypatch.setattr(logger, "handlers", list(logger.handlers))
        monkeypatch.setattr(logger, "propagate", logger.propagate)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    start_log("text", REDACT, level=getattr(request, "param", "info"))
    logging.captureWarnings(False)
    return written.getvalue


def test_what_ends_a_thread_or_the_process_is_a_record_like_others(started: Callable[[], str]) -> None:
    def fail() -> None:
        raise ValueError(PASSWORD)

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    sys.excepthook(ValueError, ValueError(PASSWORD), None)
    written = started()
    assert "ERROR service.log: thread worker ended: ValueError" in written
    assert "CRITICAL service.log: the process ends: ValueError" in written
    assert PASSWORD not in written


def test_a_library_that_writes_by_itself_is_adopted(started: Callable[[], str]) -> None:
    noisy = logging.getLogger("noisy")
    noisy.addHandler(logging.StreamHandler())
    noisy.propagate = False
    adopt_loggers("noisy")
    noisy.warning("a\nb")
    (line,) = started().splitlines()
    assert line.endswith(r"WARNING noisy: a\nb")


@pytest.mark.parametrize(
    ("started", "written"),
    [("warning", ["WARNING"]), ("info", ["WARNING", "INFO"]), ("debug", ["WARNING", "INFO", "DEBUG"])],
    ids=["warning", "info", "debug"],
    indirect=["started"],
)
def test_a_level_leaves_out_what_is_below_it(started: Callable[[], str], written: list[str]) -> None:
    for level in (logging.WARNING, logging.INFO, logging.DEBUG):
        logging.getLogger("service.front").log(level, "said")
    logging.getLogger("noisy").debug("of a library")
    assert [line.split()[1] for line in started().splitlines()] == written


def test_reports_of_libraries_are_left_out(started: Callable[[], str]) -> None:
    logging.getLogger("alembic.runtime.migration").info("Running upgrade")
    logging.getLogger("py.warnings").warning("DeprecationWarning")
    assert started() == ""


def test_a_line_in_a_trace_names_it() -> None:
    traced = SpanContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, is_remote=True)
    with use_span(NonRecordingSpan(traced)):
        assert entry(record("answered"))["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "trace_id" not in entry(record("answered"))


def test_lines_for_the_audit_are_objects_in_either_form(monkeypatch: pytest.MonkeyPatch) -> None:
    audit, written = logging.getLogger("audit"), io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(logging, "captureWarnings", lambda _: None)
    for module, hook in ((sys, "excepthook"), (threading, "excepthook")):
        monkeypatch.setattr(module, hook, getattr(module, hook))
    monkeypatch.setattr(audit, "handlers", [])
    monkeypatch.setattr(audit, "propagate", True)
    levels = {name: logging.getLogger(name).level for name in ("alembic", "py.warnings")}
    start_log("text", REDACT)
    audit.warning(
        "team.created fraud",
        extra={"fields": {"event": 7, "by": "admin-key", "at": datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)}},
    )
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    line = json.loads(written.getvalue())
    assert (line["logger"], line["event"], line["by"]) == ("audit", 7, "admin-key")
    assert line["at"] == "2026-11-28T01:02:03.000000Z"
