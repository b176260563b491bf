"""How a request ends: its answer or its error, if its caller still waits; and its line in the log."""

import logging
from concurrent.futures import Future, InvalidStateError
from typing import Any

from models_registry.errors import RegistryError
from service.host.scheduling.job import Job
from service.protocol.types import HostAnswer

log = logging.getLogger(__name__)

LONGEST_REASON = 500


def succeed(future: Future[HostAnswer], answer: HostAnswer) -> None:
    try:
        future.set_result(answer)
    except InvalidStateError:
        log.warning("an answer arrived after its request had been given up")


def fail(future: Future[Any], error: BaseException) -> None:
    try:
        future.set_exception(error)
    except InvalidStateError:
        log.warning("an error arrived after its request had been given up: %s", error)


def explain(model: str, job: Job, error: BaseException) -> None:
    """Fail a job by what `model` raised, whatever it is."""
    if isinstance(error, RegistryError):
        if error.__cause__ is not None:
            # One line: it is the caller's own doing, and he may send thousands.
            reason = " ".join(error.detail.split())[:LONGEST_REASON]
            log.warning("model %s could not answer a request: %s", model, reason)
            log.debug("where model %s failed", model, exc_info=error)
        fail(job.future, error)
        return
    log.error("model %s failed at a request", model, exc_info=error)
    # Not as it is: a SystemExit would end the event loop that awaits it, a StopIteration would never arrive.
    failure = RuntimeError(f"The base model raised {type(error).__name__}: {error}")
    failure.__cause__ = error
    fail(job.future, failure)
