import logging
from threading import Event

import pytest

from models_registry.errors import Unavailable
from service.front.periodic import Periodic

OFTEN_S = 0.001


def said_of_one_failure(error: Exception, caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The log's only line about work that fails once with `error`, and is done then."""
    errors = [error]
    done = Event()

    def flush() -> None:
        if errors:
            raise errors.pop()
        done.set()

    periodic = Periodic("counts", OFTEN_S, flush)
    with caplog.at_level(logging.WARNING):
        periodic.start()
        assert done.wait(60)
        periodic.stop()
    [said] = caplog.records
    return said


def test_work_that_a_database_keeps_waiting_is_done_later(caplog: pytest.LogCaptureFixture) -> None:
    said = said_of_one_failure(Unavailable("The database is away."), caplog)

    assert said.message == "counts: done later, because it failed: The database is away."
    assert said.exc_info is None


def test_a_fault_of_our_own_is_logged_whole_and_the_work_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    assert said_of_one_failure(KeyError("ours"), caplog).exc_info is not None
