"""All texts that one hosted model is writing: those on slots, and those that its own `generate` writes."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from service.host.generation.answer import TextAnswer
from service.host.generation.engine import Engine
from service.host.generation.fallback import Fallback
from service.host.scheduling.job import Job
from service.host.scheduling.outcome import explain


class Texts:
    """Of the model `name`. `fallback` writes what the `engine` doesn't take. `watch` hears the requests that a step is
    for, and None once it is over."""

    def __init__(
        self, name: str, fallback: Fallback, engine: Engine | None, watch: Callable[[tuple[int, ...] | None], None]
    ) -> None:
        self._name = name
        self._fallback = fallback
        self.engine: Final = engine
        self._watch = watch

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Those whose texts aren't all written yet. Any thread may ask."""
        return (*(() if self.engine is None else self.engine.jobs), *self._fallback.jobs)

    def room(self, max_rows: int) -> int:
        """How many more texts may begin, those that wait for the fallback included."""
        if self.engine is None or not self.engine.is_proven:
            return 0 if self._fallback.jobs else max_rows
        return max(0, self.engine.room - self._fallback.rows)

    @property
    def waiting_teams(self) -> Collection[str]:
        """Teams of which no more texts may begin."""
        return () if self.engine is None else self.engine.waiting_teams

    def begin(self, answers: Sequence[TextAnswer]) -> None:
        """Write these from the next step on. Their adapters are in memory."""
        if others := [answer for answer in answers if not self._joins(answer)]:
            self._fallback.begin(others)

    def step(self) -> Iterator[int]:
        """One token of every text that has its turn. Gives how many rows each forward had."""
        if self.engine is not None and self.engine.jobs and (rows := self._step(self.engine)):
            yield rows
        if self._fallback.jobs:
            try:
                yield self._fallback.step()
            except BaseException as error:  # nobody foresaw it; the thread must live on
                self._fallback.fail_batch(error)

    def _step(self, engine: Engine) -> int:
        self._watch(tuple(job.id for job in engine.jobs))
        try:
            return engine.step()
        except BaseException as error:  # as above
            engine.fail_all(error)
            return 0
        finally:
            self._watch(None)

    def _joins(self, answer: TextAnswer) -> bool:
        """Whether the engine writes its texts, or it has failed already."""
        if self.engine is None:
            return False
        try:
            if not self.engine.takes(answer.job):
                return False
            self.engine.begin(answer)
        except BaseException as error:  # as in a forward
            explain(self._name, answer.job, error)
        return True
