"""What is used, counted in memory while it is: no request writes to the database for it.

A call belongs to the adapter of its first row, its rows and tokens to the adapter of each; a composition is the first
adapter that it names. So nothing is counted twice, whatever it is summed up by.
"""

import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from models_registry.usage_records import UsageBatch, UsageCounts, UsageGroup, hour_of
from service.front.access.caller import Caller
from service.protocol.types import BASE, HostAnswer, Selection

MOST_GROUPS: Final = 100_000
"""Held at a time. If the database is away for longer, later usage is counted to the first hour that is held."""
ANSWERED, FAILED = UsageCounts(requests=1), UsageCounts(errors=1)


class UsageMeter:
    """Of one process. Safe under threads."""

    def __init__(self) -> None:
        self.process: Final = f"process {uuid4().hex}"
        self._changing = threading.Lock()
        self._number = 1
        self._counts: dict[UsageGroup, UsageCounts] = {}
        self._batch: UsageBatch | None = None

    @contextmanager
    def call(self, caller: Caller, model: str) -> Generator["MeteredCall"]:
        """One call, answered unless the inside raises. `model` is empty where there is none of that name for them."""
        call = MeteredCall(self, caller, model)
        try:
            yield call
        except BaseException:  # also where the caller disconnected
            self.add(call.group, FAILED)
            raise
        self.add(call.group, ANSWERED)

    def add(self, group: UsageGroup, counts: UsageCounts) -> None:
        with self._changing:
            own = self._counts.get(group)
            if own is None and len(self._counts) >= MOST_GROUPS:
                group = replace(group, hour=next(iter(self._counts)).hour)
                own = self._counts.get(group)
            self._counts[group] = counts if own is None else own + counts

    # ---- on its way to the database -----------------------------------------------------------------------------

    def next_batch(self) -> UsageBatch | None:
        """What is to be added to the database next: always the same until it is known to be `added`."""
        with self._changing:
            if self._batch is None and self._counts:
                self._batch = UsageBatch(self._number, self._counts)
                self._number, self._counts = self._number + 1, {}
            return self._batch

    def added(self) -> None:
        """The next batch is in the database."""
        with self._changing:
            self._batch = None

    @property
    def held(self) -> tuple[UsageBatch, ...]:
        """All that isn't known to be in the database."""
        with self._changing:
            batch = () if self._batch is None else (self._batch,)
            return (*batch, UsageBatch(self._number, dict(self._counts)))


class MeteredCall:
    """One call while it is answered."""

    def __init__(self, meter: UsageMeter, caller: Caller, model: str) -> None:
        self._meter = meter
        self._caller = caller
        self._model = model
        self._first = BASE

    @property
    def group(self) -> UsageGroup:
        """The call's own."""
        return self._group_of(self._first)

    def follow(self, selections: tuple[Selection, ...], future: Future[HostAnswer]) -> None:
        """These answer it. What they use counts even if the caller disconnects meanwhile."""
        self._first = next(iter(selections), BASE)  # there are none where the list of adapters is empty
        future.add_done_callback(self._count)

    def _count(self, future: Future[HostAnswer]) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        answer = future.result()
        for selection, used in zip(dict.fromkeys(answer.selections), answer.used, strict=False):
            counts = UsageCounts(
                rows=used.rows,
                prompt_tokens=used.prompt_tokens,
                cached_tokens=used.cached_tokens,
                generated_tokens=used.generated_tokens,
                forward_s=used.forward_s,
            )
            self._meter.add(self._group_of(selection), counts)

    def _group_of(self, selection: Selection) -> UsageGroup:
        hour, caller = hour_of(datetime.now(UTC)), self._caller
        if not selection.parts:
            return UsageGroup(hour, caller.team, caller.key or "", self._model)
        version = selection.parts[0].version
        return UsageGroup(hour, caller.team, caller.key or "", self._model, version.adapter, version.version)
