"""How much each team may ask for. A request is admitted, charged once, and corrected when it has ended.

No database is read here: `limit_exchange.py` exchanges what was spent with other processes.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from models_registry.errors import DeadlinePassed
from models_registry.teams import NO_LIMITS, TeamLimits, TeamShared, TeamSpent
from service.front.admission.demand import Demand
from service.front.admission.over_limit import OverLimit
from service.front.admission.team_meter import Rate, TeamMeter
from service.protocol.types import HostAnswer


class Admitted:
    """A request on its way, with the tokens that it was charged."""

    def __init__(self, tokens: int, charge: Callable[[int], None]) -> None:
        """`charge` takes that many more from its team; a negative number is given back."""
        self._tokens = tokens
        self._charge = charge

    def follow(self, future: Future[HostAnswer]) -> None:
        """Correct the charge when the host has answered, also if the caller disconnects before."""
        future.add_done_callback(self._correct_by_answer)

    def correct(self, tokens: int) -> None:
        """It took so many."""
        self._charge(tokens - self._tokens)
        self._tokens = tokens

    def _correct_by_answer(self, future: Future[HostAnswer]) -> None:
        if not future.cancelled() and future.exception() is None and (used := future.result().used):
            self.correct(sum(one.prompt_tokens + one.generated_tokens for one in used))


@dataclass(frozen=True, slots=True)
class AskedUse:
    """What a team asks for at this moment: in flight in all processes, and of its rates, those that are limited."""

    rows: int
    sequences: int
    rates: tuple[Rate, ...]


class TeamAdmission:
    """Safe under threads; nothing in here waits for anybody."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changing = threading.Lock()
        self._meters: dict[str, TeamMeter] = {}

    def set_limits(self, limits: Mapping[str, TeamLimits]) -> None:
        """From now on these teams have these limits, and all others none."""
        with self._changing:
            now = self._clock()
            for team in {*self._meters, *limits}:
                self._meter(team).set_limits(limits.get(team, NO_LIMITS), now)
                self._forget_idle(team)

    def limits_of(self, team: str) -> TeamLimits:
        meter = self._meters.get(team)
        return NO_LIMITS if meter is None else meter.limits

    @contextmanager
    def admit(self, team: str, demand: Demand) -> Generator[Admitted]:
        """The request runs inside the `with`, however often it is tried. Raises `OverLimit`.

        At the end its rows are returned. Its tokens are corrected once the host has counted them; one that failed costs
        none. One whose caller doesn't wait any more stays charged as it was until the host says what it took.
        """
        with self._changing:
            meter, now = self._meter(team), self._clock()
            if reached := list(meter.excesses(demand, now)):
                self._forget_idle(team)
                raise OverLimit(team, reached)
            meter.begin(demand, now)
        admitted = Admitted(demand.tokens, partial(self._charge_tokens, team))
        try:
            yield admitted
        except (asyncio.CancelledError, DeadlinePassed, GeneratorExit):
            raise
        except BaseException:
            admitted.correct(0)
            raise
        finally:
            with self._changing:
                meter.end(demand)
                self._forget_idle(team)

    def use_of(self, team: str) -> AskedUse:
        with self._changing:
            meter = self._meters.get(team) or TeamMeter()
            return AskedUse(meter.all_rows, meter.all_sequences, tuple(meter.rates(self._clock())))

    def in_flight(self) -> Mapping[str, tuple[int, int]]:
        """The rows and the texts that each team has in this process now, waiting or running; those with none are left
        out."""
        with self._changing:
            return {team: (meter.rows, meter.sequences) for team, meter in self._meters.items() if meter.rows}

    def rates_of(self, team: str) -> tuple[Rate, ...]:
        """Those that are limited; cheap where none is."""
        if (meter := self._meters.get(team)) is None or not meter.has_rates:
            return ()
        with self._changing:
            return tuple(meter.rates(self._clock()))

    # ---- with the other processes -------------------------------------------------------------------------------

    def report(self) -> Mapping[str, TeamSpent]:
        """What the teams that have limits have spent since the last report, and what they have in flight."""
        with self._changing:
            return {team: meter.report() for team, meter in self._meters.items() if meter.limits != NO_LIMITS}

    def unreport(self, reported: Mapping[str, TeamSpent]) -> None:
        """The report didn't reach the other processes."""
        with self._changing:
            for team, spent in reported.items():
                if meter := self._meters.get(team):
                    meter.unreport(spent)

    def follow(self, shared: Mapping[str, TeamShared]) -> None:
        """This is what all processes have left, what was reported last included."""
        with self._changing:
            for team, left in shared.items():
                if meter := self._meters.get(team):
                    meter.follow(left, self._clock())

    def _charge_tokens(self, team: str, tokens: int) -> None:
        with self._changing:
            if meter := self._meters.get(team):
                meter.charge_tokens(tokens, self._clock())

    def _meter(self, team: str) -> TeamMeter:
        return self._meters.setdefault(team, TeamMeter())

    def _forget_idle(self, team: str) -> None:
        if self._meters[team].is_idle:
            del self._meters[team]
