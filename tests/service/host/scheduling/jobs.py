"""Jobs that wait, where nothing but their size, team and adapters matters."""

from concurrent.futures import Future

import torch
from engines import version_of

from models_registry.base_models.spec import Rows
from models_registry.inputs.values import Inputs
from service.host.scheduling.fair_queue import FairQueue
from service.host.scheduling.job import BatchKey, Job
from service.protocol.types import InferCall, Part, Selection

KIND = BatchKey("rows of 4")


def selection(*adapters: str) -> Selection:
    return Selection(tuple(Part(version_of(name), name, 1.0) for name in adapters))


def job(
    *adapters: str,
    rows: int = 1,
    batch_key: BatchKey | None = KIND,
    team: str = "default",
    divisible: bool = False,
) -> Job:
    tensors = {"x": torch.ones(rows, 4)}
    request = InferCall(Inputs(tensors), team=team)
    return Job(request, (selection(*adapters),), Rows(tensors, rows), Future(), 0.0, batch_key, divisible=divisible)


def waiting(*jobs: Job) -> FairQueue:
    lines = FairQueue()
    for one in jobs:
        lines.add(one)
    return lines


def turns(lines: FairQueue, max_rows: int) -> list[list[str]]:
    """Whose jobs run in each forward until nobody waits."""
    batches: list[list[str]] = []
    while lines:
        batches.append(["+".join(sorted(one.adapters)) or "base" for one in lines.take(max_rows)])
    return batches
