"""The thread of one hosted base model, the only one that runs or changes its module.

Its loop is one sentence: take a batch, make its adapters resident, run it, give each request its rows or its own error.
"""

import logging
import threading
import time
from concurrent.futures import Future, InvalidStateError
from typing import Any

from models_registry.base_models.spec import BaseModelSpec
from models_registry.errors import RegistryError
from models_registry.injection.adapted_model import AdaptedModel
from service.engine.batcher import Batcher, Call, Job
from service.engine.forward import answer_rows
from service.engine.request import InferAnswer
from service.engine.residency import AdapterResidency

log = logging.getLogger(__name__)


class Worker:
    def __init__(
        self, name: str, spec: BaseModelSpec, adapted: AdaptedModel, adapters: AdapterResidency, batcher: Batcher
    ) -> None:
        self._name = name
        self._spec = spec
        self._adapted = adapted
        self._adapters = adapters
        self._batcher = batcher
        self._running: Job | None = None
        self._given_up: RegistryError | None = None
        # A forward that never ends must not keep the process alive after its grace has passed.
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def give_up(self, reason: RegistryError) -> None:
        """Answer `reason` to everything that is queued or runs."""
        self._given_up = reason  # before looking at what runs: a job that begins just now then sees it
        for work in self._batcher.drain():
            if work.future.set_running_or_notify_cancel():
                _fail(work.future, reason)
        if (running := self._running) is not None:
            _fail(running.future, reason)

    def join(self, timeout_s: float | None = None) -> bool:
        """Whether the thread has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (work := self._batcher.take()) is not None:
            match work:
                case Call():
                    self._call(work)
                case Job():
                    self._serve(work)
            del work  # while it waits, the thread must not keep the last request's tensors
            self._trim()

    def _trim(self) -> None:
        try:
            self._adapters.trim()
        except Exception:  # nobody waits for this; the thread must live on for those who wait for answers
            log.exception("model %s could not free an adapter", self._name)

    def _call(self, call: Call) -> None:
        if not call.future.set_running_or_notify_cancel():
            return
        try:
            call.future.set_result(call.function())
        except Exception as error:  # whoever called gets it, and the thread lives on
            call.future.set_exception(error)

    def _serve(self, job: Job) -> None:
        if not job.begin():
            return
        self._running = job
        try:
            if self._given_up is None:
                _succeed(job.future, self._answer(job))
            else:
                _fail(job.future, self._given_up)
        except RegistryError as error:
            if error.__cause__ is not None:
                log.warning("model %s could not answer a request", self._name, exc_info=error)
            _fail(job.future, error)
        except BaseException as error:  # a module may raise anything, and it is this request's own
            log.exception("model %s failed at a request", self._name)
            # Not as it is: a SystemExit would end the event loop that awaits it, a StopIteration would never arrive.
            failure = RuntimeError(f"The base model raised {type(error).__name__}: {error}")
            failure.__cause__ = error
            _fail(job.future, failure)
        finally:
            self._running = None

    def _answer(self, job: Job) -> InferAnswer:
        self._adapters.make_resident(job.versions)
        begun = time.monotonic()
        outputs = answer_rows(self._spec, self._adapted, job)
        ended = time.monotonic()
        return InferAnswer(
            model=job.request.model,
            adapter=tuple(selection.exact for selection in outputs.selections),
            digest=tuple(selection.digest for selection in outputs.selections),
            outputs=outputs.values,
            queue_ms=(begun - job.admitted_at) * 1000,
            forward_ms=(ended - begun) * 1000,
        )


def _succeed(future: Future[InferAnswer], answer: InferAnswer) -> None:
    try:
        future.set_result(answer)
    except InvalidStateError:
        log.warning("an answer came after its request had been given up")


def _fail(future: Future[Any], error: BaseException) -> None:
    try:
        future.set_exception(error)
    except InvalidStateError:
        log.warning("an error came after its request had been given up: %s", error)
