"""The thread of one hosted base model, the only one that runs or changes its module.

Its loop is one sentence: let adapters be loaded and evicted, take a batch of ready jobs, make its adapters resident,
run it, give each request its rows or its own error; then write the next token of every text: on slots, and of a batch
that the model's own `generate` writes.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from models_registry.errors import RegistryError, Unavailable
from models_registry.injection.adapted_model import AdaptedModel
from service.host.adapters.adapter_cache import AdapterCache
from service.host.adapters.memory_budget import SLOW_S
from service.host.execution.model_runner import answer_jobs, require_coverage
from service.host.execution.use import use_of
from service.host.generation.answer import TextAnswer
from service.host.generation.texts import Texts
from service.host.scheduling.batch_policy import BatchPolicy
from service.host.scheduling.batcher import Batcher, Call
from service.host.scheduling.job import Job
from service.host.scheduling.outcome import explain, fail, succeed
from service.protocol.stats import Sizes
from service.protocol.types import HostAnswer, distinct_versions

log = logging.getLogger(__name__)

Watch: TypeAlias = Callable[[tuple[int, ...] | None], None]

SLOW_FORWARD_S = 1.0


class Worker:
    def __init__(
        self,
        name: str,
        adapted: AdaptedModel,
        adapters: AdapterCache,
        policy: BatchPolicy,
        batcher: Batcher,
        watch: Watch = lambda _: None,
        texts: Texts | None = None,
    ) -> None:
        """`watch` hears what the thread begins: requests, or something else for none; None once it has finished.
        `texts` are those it writes; there are none where the model writes no text."""
        self._name = name
        self._adapted = adapted
        self._adapters = adapters
        self._policy = policy
        self._batcher = batcher
        self._watch = watch
        self._texts = texts
        self.rows_per_forward: Final = Sizes()
        self.adapters_per_forward: Final = Sizes()
        self._running: tuple[Job, ...] = ()
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
                fail(work.future, reason)
        for job in (*self._running, *self._written):
            if not job.future.done():
                fail(job.future, reason)
            job.left.set()  # not before: its caller, who has not left, would be given what there is so far

    def join(self, timeout_s: float | None = None) -> bool:
        """Whether the thread has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        # A load that takes too long no longer counts, so that others may begin: no later event would allow it.
        while self._batcher.wait(self._patience_s) or self._written:
            self._rebalance()
            match self._batcher.take(self._adapters.absent, {job.team for job in self._written}):
                case Call() as call:
                    self._call(call)
                    del call  # while it waits, the thread must not keep what it was given
                case None:
                    pass
                case jobs:
                    self._serve(jobs)
                    del jobs
            if self._texts is not None:
                self._write(self._texts)
        self._adapters.close(self._batcher.closed or Unavailable("The base model is going."))

    @property
    def _written(self) -> tuple[Job, ...]:
        return () if self._texts is None else self._texts.jobs

    @property
    def _patience_s(self) -> float | None:
        if self._written:
            return 0.0
        return None if self._adapters.is_balanced else SLOW_S

    def _rebalance(self) -> None:
        if self._adapters.is_balanced:
            return
        running = frozenset(key for job in self._written for key in job.keys)
        try:
            self._batcher.refuse(self._adapters.rebalance(self._batcher.in_fair_order(), running))
        except Exception:  # nobody waits for this; the thread must live on for those who wait for answers
            log.exception("model %s could not change which adapters are in memory", self._name)

    def _call(self, call: Call) -> None:
        if not call.future.set_running_or_notify_cancel():
            return
        self._watch(())
        try:
            call.future.set_result(call.function())
        except Exception as error:  # its caller gets it, and the thread lives on
            call.future.set_exception(error)
        except BaseException as error:  # a module may raise even SystemExit, which may end neither thread nor caller
            call.future.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))
        finally:
            self._watch(None)

    def _serve(self, jobs: Sequence[Job]) -> None:
        self._running = tuple(job for job in jobs if job.begin())
        try:
            if self._running:
                self._answer(self._running)
        finally:
            self._running = ()
            self._watch(None)

    # ---- texts that are written token by token ------------------------------------------------------------------

    def _write(self, texts: Texts) -> None:
        """Let texts begin, then write the next token of each."""
        room = texts.room(self._batcher.max_rows)
        if jobs := self._batcher.take_texts(room, self._adapters.absent, texts.waiting_teams):
            self._begin(texts, jobs)
            del jobs
        for rows in texts.step():
            self.rows_per_forward.record(rows)

    def _begin(self, texts: Texts, jobs: Sequence[Job]) -> None:
        self._running = tuple(job for job in jobs if job.begin())
        try:
            texts.begin([answer for job in self._running if (answer := self._begun(job)) is not None])
        finally:
            self._running = ()
            self._watch(None)

    def _begun(self, job: Job) -> TextAnswer | None:
        """With its adapters in memory; None where it has failed."""
        if self._given_up is not None:
            fail(job.future, self._given_up)
            return None
        begun = time.monotonic()
        try:
            came_at = self._adapters.make_resident(job.versions)
        except BaseException as error:  # as in a forward
            explain(self._name, job, error)
            return None
        return TextAnswer(job, begun, _load_s(job, came_at))

    # ---- forwards -----------------------------------------------------------------------------------------------

    def _answer(self, jobs: Sequence[Job]) -> None:
        """Together; if that fails in two halves, and so on: an error is then only who caused it."""
        if self._given_up is not None:
            for job in jobs:
                fail(job.future, self._given_up)
            return
        try:
            answers = self._forward(jobs)
        except BaseException as error:  # a module may raise anything
            if len(jobs) == 1:
                explain(self._name, jobs[0], error)
                return
            log.debug("model %s answers %d requests in halves", self._name, len(jobs), exc_info=error)
        else:
            for job, answer in zip(jobs, answers, strict=True):
                succeed(job.future, answer)
            return
        # Only here, for the error would keep alive what the forward took.
        middle = len(jobs) // 2
        self._answer(jobs[:middle])
        self._answer(jobs[middle:])

    def _forward(self, jobs: Sequence[Job]) -> list[HostAnswer]:
        self._watch(tuple(job.id for job in jobs))
        begun = time.monotonic()
        came_at = self._adapters.make_resident(distinct_versions(one for job in jobs for one in job.selections))
        loaded = time.monotonic()
        outputs = answer_jobs(self._policy.spec, self._adapted, jobs, self._policy.proof.by_token or ())
        ended = time.monotonic()
        self._batcher.times.record(jobs, ended - loaded)
        self._record(jobs, begun, loaded, ended)
        self._policy.learn(jobs[0].rows)
        require_coverage(self._adapted, (one for job in jobs for one in job.selections))
        answers: list[HostAnswer] = []
        row_s = (ended - loaded) / sum(job.size for job in jobs)
        for job, own in zip(jobs, outputs, strict=True):
            load_s = _load_s(job, came_at)
            answer = HostAnswer(
                selections=own.selections,
                outputs=own.values,
                queue_ms=(begun - job.admitted_at - load_s) * 1000,
                load_ms=(load_s + loaded - begun) * 1000,
                forward_ms=(ended - loaded) * 1000,
                used=use_of(job.rows, own.selections, row_s),
            )
            answers.append(answer)
        return answers

    def _record(self, jobs: Sequence[Job], begun: float, loaded: float, ended: float) -> None:
        """Count it, and log a line: there may be hundreds a second, so unasked an operator sees only the slow ones."""
        rows, adapters = sum(job.size for job in jobs), len({name for job in jobs for name in job.keys})
        self.rows_per_forward.record(rows)
        self.adapters_per_forward.record(adapters)
        level = logging.INFO if ended - begun > SLOW_FORWARD_S else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(
                level,
                "forward model=%s requests=%d rows=%d adapters=%d queue_ms=%.1f load_ms=%.1f forward_ms=%.1f",
                self._name,
                len(jobs),
                rows,
                adapters,
                (begun - min(job.admitted_at for job in jobs)) * 1000,
                (loaded - begun) * 1000,
                (ended - loaded) * 1000,
            )


def _load_s(job: Job, came_at: Mapping[str, float]) -> float:
    """From when it could have run but for its adapters, until the last one was loaded."""
    return max([0.0, *(came_at[name] - job.queued_at for name in job.keys)])
