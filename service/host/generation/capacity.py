"""Whether a request's texts can ever be in memory: what can't is refused, rather than left to wait for room."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from models_registry.errors import TooLong
from models_registry.records import Fault
from service.host.generation.rooms import most_positions_of
from service.host.generation.schedule import Schedule
from service.host.scheduling.job import Job


def require_capacity(schedule: Schedule[Any], job: Job) -> None:
    """Different texts take turns; several of one prompt (`n`) are written together, so they must fit together.

    Raises:
        TooLong: naming the rows that never fit, with what they take and what there is.
    """
    faults = [
        Fault(
            ("inputs", "text", job.start + row),
            f"It has {len(prompt.ids)} tokens; with the {prompt.room} that may follow, these are more than the "
            f"{schedule.longest} that fit into ADAPTER_SERVICE_MAX_CACHE_BYTES.",
        )
        for row, prompt in enumerate(job.prompts)
        if not schedule.fits(prompt.length)
    ]
    if faults := faults or list(_repeated(schedule, job)):
        raise TooLong("Texts don't fit into memory.", faults)


def _repeated(schedule: Schedule[Any], job: Job) -> Iterator[Fault]:
    selections = job.selections * job.size if len(job.selections) == 1 else job.selections
    texts = list(zip(job.prompts, selections, strict=True))
    for text, count in Counter(texts).items():
        prompt, _ = text
        if not schedule.fits(prompt.length, count):
            message = (
                f"{count} texts of this prompt's {len(prompt.ids)} tokens and the {prompt.room} that may follow each "
                f"take {most_positions_of(prompt.length, count)} positions together (rounded up as memory is taken), "
                f"and {schedule.max_positions} fit into ADAPTER_SERVICE_MAX_CACHE_BYTES. Ask for fewer texts, or for "
                "fewer tokens of each."
            )
            yield Fault(("inputs", "text", job.start + texts.index(text)), message)
