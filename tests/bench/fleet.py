"""A fleet that doesn't fit here: what share of requests finds its adapter in memory, by each way to choose a replica.

A discrete-event simulation. Fronts choose by what they know: reports that are up to a second old, and what they sent
themselves. A replica takes what waits as one batch, evicts the least recently used adapter that is not in use, and now
and then dies with all it has. Our side is `service.cluster.warmth` itself. Times are minilm's, float32, one thread of a
small server: a text of 16 words, rank 16 on all linear layers, its weights in a local directory.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from service.cluster.replica_view import ReplicaReport
from tests.bench.figures import Count, Figure, Share
from tests.bench.fleet_policies import POLICIES, Policy

PERIOD_S, DELIVERY_S = 0.5, 0.5  # of reports: one is up to a second old
DETECTION_S, RESTART_S = 0.5, 20.0


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of a forward: `forward` and so much more per row, and per adapter that is loaded for it. Measured:
    1 row 28 ms, 16 rows 125 ms, 32 rows 240 ms; reading and preparing an adapter 7 ms."""

    forward: float = 0.020
    row: float = 0.0075
    load: float = 0.0072


@dataclass(frozen=True, slots=True)
class Fleet:
    """`slots` adapters fit a replica. Adapter n is asked for in proportion to 1 / n ** `skew`. `busy`: the part of what
    the fleet could do at full batches, if nothing had to be loaded. A replica dies every `dies_every_s`. The fronts had
    requests for `history_s` before, and remember of them what they would."""

    replicas: int = 100
    adapters: int = 100_000
    slots: int = 250
    skew: float = 1.0
    requests: int = 1_000_000
    fronts: int = 4
    busy: float = 0.6
    batch: int = 64
    dies_every_s: float = 10.0
    history_s: float = 600.0
    times: Times = Times()

    @property
    def rate(self) -> float:
        """Requests a second, one row each."""
        return self.busy * self.replicas * self.batch / (self.times.forward + self.times.row * self.batch)

    @property
    def shares(self) -> np.ndarray:
        weights = 1.0 / np.arange(1, self.adapters + 1) ** self.skew
        return weights / weights.sum()

    @property
    def best(self) -> float:
        """The share that would be warm if the popularity of each adapter were known, each was in memory once, and no
        replica died: nobody who doesn't know the next requests does better."""
        return float(self.shares[: self.replicas * self.slots].sum())


@dataclass(frozen=True, slots=True)
class Result:
    """Of the second half of the requests. `skew` is the busiest replica's time at work over the mean."""

    warm: float
    p50_s: float
    p99_s: float
    skew: float
    retried: int


@dataclass(slots=True)
class Request:
    number: int
    at: float
    key: str
    front: int
    holds: bool = False


@dataclass(slots=True)
class Replica:
    """A host: its queue, its adapters with how many requests hold each, and how long it has worked."""

    id: str
    slots: int
    queue: list[Request] = field(default_factory=list[Request])
    running: list[Request] = field(default_factory=list[Request])
    adapters: OrderedDict[str, int] = field(default_factory=OrderedDict[str, int])
    loads: int = 0  # to be done with the next batch
    begun_at: float = 0.0
    worked_s: float = 0.0

    def admit(self, request: Request) -> bool:
        """Whether its adapter was in memory."""
        self.queue.append(request)
        held = self.adapters.pop(request.key, None)
        if held is None:
            self.loads += 1
            if len(self.adapters) >= self.slots:
                idle = next((key for key, holders in self.adapters.items() if not holders), None)
                if idle is None:
                    return False  # it is loaded for this request alone, once others have made room
                del self.adapters[idle]
        request.holds = True
        self.adapters[request.key] = (held or 0) + 1
        return held is not None

    def release(self, request: Request) -> None:
        if request.holds:
            self.adapters[request.key] -= 1

    def report(self, batch: int) -> ReplicaReport:
        room = self.slots - len(self.adapters)
        return ReplicaReport(tuple(self.adapters), len(self.queue) + len(self.running), batch, max(room, 0))


class Simulation:
    def __init__(self, fleet: Fleet, make: Callable[[int], Policy], seed: int) -> None:
        self._fleet = fleet
        self._random = Random(seed)
        self._ids = [f"r{number}" for number in range(fleet.replicas)]
        self._next_id = fleet.replicas
        self._replicas = {id: Replica(id, fleet.slots) for id in self._ids}
        self._fronts = [make(seed + number) for number in range(fleet.fronts)]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = 0
        self._draw = np.random.default_rng(seed)
        self._warm = np.zeros(fleet.requests, dtype=bool)
        self._taken = np.zeros(fleet.requests)
        self._worked: list[float] = []
        self._retried = 0

    def run(self) -> Result:
        fleet = self._fleet
        times = np.cumsum(self._draw.exponential(1 / fleet.rate, fleet.requests))
        adapters = self._adapters(fleet.requests)
        self._remember()
        for front in self._fronts:
            front.keep(list(self._replicas))
        for replica in self._replicas.values():
            self._at(self._random.random() * PERIOD_S, self._reporter(replica))
        self._at(fleet.dies_every_s, self._kill)
        for number, (at, adapter) in enumerate(zip(times.tolist(), adapters.tolist(), strict=True)):
            self._until(at)
            self._route(Request(number, at, f"a{adapter}", number % fleet.fronts), at, ())
        half = fleet.requests // 2
        self._until(times[-1] + 3.0)
        answered = self._taken[half:][self._taken[half:] > 0]
        p50, p99 = np.quantile(answered, (0.5, 0.99)).tolist()
        worked = np.array([replica.worked_s for replica in self._replicas.values() if replica.id in self._ids])
        skew = float(worked.max() / worked.mean())
        return Result(float(self._warm[half:].mean()), p50, p99, skew, self._retried)

    def _adapters(self, count: int) -> np.ndarray:
        return np.searchsorted(np.cumsum(self._fleet.shares), self._draw.random(count))

    def _remember(self) -> None:
        before = self._adapters(int(self._fleet.history_s * self._fleet.rate)).tolist()
        for number, adapter in enumerate(before):
            at = number / self._fleet.rate - self._fleet.history_s
            self._fronts[number % len(self._fronts)].remember(f"a{adapter}", at)

    # ---- events ---------------------------------------------------------------------------------------------

    def _at(self, at: float, event: Callable[[float], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (at, self._order, event))

    def _until(self, at: float) -> None:
        while self._events and self._events[0][0] <= at:
            due, _, event = heapq.heappop(self._events)
            event(due)

    def _route(self, request: Request, now: float, refused: Sequence[str]) -> None:
        front = self._fronts[request.front]
        id = front.choose(request.key, now, refused)
        replica = self._replicas.get(id)
        if replica is None:
            self._route(request, now, (*refused, id))
            return
        front.send(id, request.key, now)
        request.holds = False
        self._warm[request.number] = replica.admit(request)
        if not replica.running:
            self._work(replica, now)

    def _work(self, replica: Replica, now: float) -> None:
        fleet, times = self._fleet, self._fleet.times
        batch, replica.queue = replica.queue[: fleet.batch], replica.queue[fleet.batch :]
        replica.running, replica.begun_at = batch, now
        takes = times.forward + times.row * len(batch) + times.load * replica.loads
        replica.loads = 0

        def finish(at: float) -> None:
            if self._replicas.get(replica.id) is not replica:
                return  # it died
            replica.worked_s += at - now
            replica.running = []
            for request in batch:
                replica.release(request)
                self._taken[request.number] = at - request.at
                self._fronts[request.front].complete(replica.id, request.key)
            if replica.queue:
                self._work(replica, at)

        self._at(now + takes, finish)

    def _reporter(self, replica: Replica) -> Callable[[float], None]:
        def report(now: float) -> None:
            if self._replicas.get(replica.id) is not replica:
                return
            said = replica.report(self._fleet.batch)

            def deliver(at: float) -> None:
                for front in self._fronts:
                    front.report(replica.id, said, at)

            self._at(now + DELIVERY_S, deliver)
            self._at(now + PERIOD_S, report)

        return report

    def _kill(self, now: float) -> None:
        victim = self._replicas.pop(self._random.choice(list(self._replicas)))
        for request in (*victim.running, *victim.queue):
            self._fronts[request.front].complete(victim.id, request.key)
            self._route(request, now, (victim.id,))
            self._retried += 1
        self._at(now + DETECTION_S, lambda _: self._know())
        self._at(now + RESTART_S, self._restart)
        self._at(now + self._fleet.dies_every_s, self._kill)

    def _restart(self, now: float) -> None:
        replica = Replica(f"r{self._next_id}", self._fleet.slots)
        self._next_id += 1
        self._replicas[replica.id] = replica
        self._know()
        self._at(now, self._reporter(replica))

    def _know(self) -> None:
        for front in self._fronts:
            front.keep(list(self._replicas))


def simulate(fleet: Fleet, policy: str, seed: int = 0) -> Result:
    """The same requests and deaths for each policy of one seed."""
    return Simulation(fleet, POLICIES[policy], seed).run()


SMALL = Fleet(4, 64, 16, 0.0, 20_000, fronts=2, dies_every_s=math.inf, history_s=0.0)


def simulating(_: Path) -> Iterator[Figure | Count | Share]:
    """Ours beside the others, in a large fleet whose replicas die, and in a small one."""
    ours = simulate(SMALL, "warm")
    yield Share("64 adapters, 16 fit, 4 replicas: warm", ours.warm, f"random {simulate(SMALL, 'random').warm:.1%}", 0.9)
    for fleet, goal in ((Fleet(), 0.95), (Fleet(slots=100), 0.9)):
        results = {policy: simulate(fleet, policy) for policy in POLICIES}
        ours = results["warm"]
        others = ", ".join(f"{name} {each.warm:.1%}" for name, each in results.items() if name != "warm")
        work = f"100 replicas of {fleet.slots}, 100,000 adapters: warm"
        yield Share(work, ours.warm, others, goal * fleet.best)
        yield Share("  of the best possible", ours.warm / fleet.best, f"best possible {fleet.best:.1%}", goal)
        skews = ", ".join(f"{name} {each.skew:.2f}" for name, each in results.items())
        for name, each in results.items():
            if name != "warm":
                yield Figure(f"  p50 beside {name}", name, ours.p50_s, each.p50_s, 1.0)
                yield Figure(f"  p99 beside {name}", name, ours.p99_s, each.p99_s, 1.0)
        yield Count("  busiest replica over the mean, percent", round(ours.skew * 100), 110, skews)
