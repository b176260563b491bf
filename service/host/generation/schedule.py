"""Which texts run, in which slots, and what each step computes. Pure Python: it sees lengths, never tensors.

Running texts have the slots 0, 1, …: first those that are written token by token, which share each step, then those
whose prompts are still read. A prompt is read in chunks of `CHUNK` tokens from position 0; chunks of a few lengths, so
that several short ones share a step. So what is computed for a text follows from the text alone. Teams take turns: for
slots, and for the chunks of each step.
"""

import bisect
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from service.host.generation.rooms import longest_within, most_positions_of, positions_of
from service.host.scheduling.team_turns import TeamTurns

CHUNK: Final = 128
FEWEST_ROWS: Final = 4
"""With fewer rows, a processor's matrix products give a row other bits than with more."""
FEWEST_TOKENS: Final = 8
MARGIN: Final = 64
"""Positions. A text is admitted if all that run have room for so many more: with less, texts soon lose their slots
again and are computed twice."""


def rows_for(count: int) -> int:
    """How many rows a decode step for so many texts has. Multiples, so that a text's bits don't depend on how many
    others there are: threads that share the rows get as many each, and no fewer than `FEWEST_ROWS`."""
    return max(1, -(-count // FEWEST_ROWS)) * FEWEST_ROWS


def tokens_for(count: int) -> int:
    """How many tokens are computed for a chunk of so many: one of a few lengths. Chunks of one length can share a step,
    in which each has the bits that it has alone."""
    multiple = max(FEWEST_TOKENS, 1 << max(0, (count - 1).bit_length() - 2))
    return -(-count // multiple) * multiple


class Schedulable(Protocol):
    """A text as the schedule sees it: `computed` positions are in its slot; it began with `prompt_length`, has
    `known_length` tokens by now and never more than `most_positions`. One that is `alone` shares no step. It is written
    for its `team`."""

    @property
    def team(self) -> str: ...
    @property
    def prompt_length(self) -> int: ...
    @property
    def known_length(self) -> int: ...
    @property
    def most_positions(self) -> int: ...
    @property
    def computed(self) -> int: ...
    @property
    def alone(self) -> bool: ...


T = TypeVar("T", bound=Schedulable)


@dataclass(frozen=True, slots=True)
class Chunk(Generic[T]):
    """Positions of a prompt that are computed next."""

    sequence: T
    start: int
    end: int

    @property
    def shape(self) -> tuple[int, int]:
        """Those of one shape can be computed together."""
        return self.start, tokens_for(self.end - self.start)


class Schedule(Generic[T]):
    """At most `max_rows` texts run, in slots of at most `max_positions` in all (None: as many as they like).

    A text is admitted when there is room for what it has, not for all that it may get. Where there is no more room, the
    youngest text gives its slot back. It returns before any other begins, in the order of age; the oldest one never
    gives its own back. So each text becomes the oldest at last, and ends."""

    def __init__(self, max_rows: int, max_positions: int | None = None) -> None:
        self._max_rows = max_rows
        self.max_positions = max_positions
        self.reads_together = True
        """Whether a step may read chunks of several prompts."""
        self._waiting: TeamTurns[T] = TeamTurns()
        self._returning: list[T] = []
        """They have given their slots back. The oldest is first."""
        self._running: list[T] = []
        self._read = 0
        """The prompts of so many running texts are computed: of the first ones."""
        self._turns: dict[T, int] = {}
        self._turn = 0
        self._read_at: dict[str, int] = {}
        """How many chunks there had been when a team that runs texts got its last one."""
        self._chunks = 0
        self._is_short = False
        """Memory ran out: nothing more is admitted until a text has ended."""

    @property
    def running(self) -> tuple[T, ...]:
        """By slot."""
        return tuple(self._running)

    @property
    def all(self) -> tuple[T, ...]:
        return (*self._running, *self._returning, *self._waiting)

    @property
    def room(self) -> int:
        """How many more texts may begin at once. While some wait, one of any other team may come to wait beside them
        for the next slots."""
        return 1 if self._waiting or self._returning else max(0, self._max_rows - len(self._running))

    @property
    def waiting_teams(self) -> Collection[str]:
        """Teams whose texts wait for slots; no more of theirs may begin."""
        return {*self._waiting.teams, *(one.team for one in self._returning)}

    def fits(self, most_positions: int, count: int = 1) -> bool:
        """Whether so many texts of so many positions can ever run at once."""
        return self.max_positions is None or most_positions_of(most_positions, count) <= self.max_positions

    @property
    def longest(self) -> int:
        """The most positions of a text that can ever run, where `max_positions` bounds them."""
        return longest_within(self.max_positions or 0)

    @property
    def needed(self) -> int:
        """Positions of all slots in the next step."""
        return positions_of(map(_needed, self._running))

    @property
    def expected(self) -> int:
        """Positions of all slots before long."""
        return max(self.needed, positions_of(map(_expected, self._running)))

    def add(self, sequences: Iterable[T]) -> None:
        for sequence in sequences:
            self._waiting.add(sequence.team, sequence)

    def admit(self) -> tuple[T, ...]:
        """Give slots to those that wait, one of each team in turn, while there is room; first of all to those that
        have had one. Returns them."""
        admitted: list[T] = []
        while self._returning and self._admits(self._returning[0]):
            admitted.append(self._returning.pop(0))
            self._running.append(admitted[-1])
        while not self._returning and (sequence := self._waiting.first) is not None and self._admits(sequence):
            self._running.append(self._waiting.pop())
            self._turns[sequence] = self._turn
            self._turn += 1
            admitted.append(sequence)
        return tuple(admitted)

    def next_chunks(self) -> tuple[Chunk[T], ...]:
        """The first is that of the text that has waited longest among those whose prompts aren't computed yet: of the
        team whose last chunk is longest ago. Others are of its shape; all together have at most `CHUNK` tokens."""
        unread = sorted(
            self._running[self._read :], key=lambda one: (self._read_at.get(one.team, -1), self._turns[one])
        )
        if not unread:
            return ()
        chunks = [self._chunk_of(sequence) for sequence in unread]
        alike = [chunk for chunk in chunks if chunk.shape == chunks[0].shape]
        _, tokens = chunks[0].shape
        chosen = alike[: max(1, CHUNK // tokens) if self.reads_together else 1]
        for chunk in chosen:
            self._chunks += 1
            self._read_at[chunk.sequence.team] = self._chunks
        return tuple(chosen)

    @staticmethod
    def _chunk_of(sequence: T) -> Chunk[T]:
        start = sequence.computed
        return Chunk(sequence, start, min(sequence.prompt_length, start - start % CHUNK + CHUNK))

    def end_reading(self, sequence: T) -> tuple[int, int] | None:
        """Its prompt is computed: it takes part in decode steps from now on. Returns two slots whose texts change
        places; None where none has to."""
        slot, first = self.slot_of(sequence), self._read
        self._read += 1
        self._running[slot], self._running[first] = self._running[first], sequence
        return None if slot == first else (slot, first)

    @property
    def decoding(self) -> tuple[T, ...]:
        """Those that take part in a decode step, by slot. They have the first ones."""
        return tuple(self._running[: self._read])

    def slot_of(self, sequence: T) -> int:
        return self._running.index(sequence)

    def age_of(self, sequence: T) -> int:
        """The lower, the older, among those that have had a slot."""
        return self._turns[sequence]

    def remove(self, sequence: T) -> tuple[tuple[int, int], ...]:
        """It has ended. Returns the slots of texts that move, and where to, in this order."""
        if sequence not in self._turns:
            self._waiting.remove(sequence.team, sequence)
            return ()
        self._is_short = False
        del self._turns[sequence]
        if sequence in self._returning:
            self._returning.remove(sequence)
            return ()
        return self._vacate(sequence)

    def _vacate(self, sequence: T) -> tuple[tuple[int, int], ...]:
        hole = self.slot_of(sequence)
        ends = [len(self._running) - 1]
        if hole < self._read:
            self._read -= 1
            ends.insert(0, self._read)
        moves: list[tuple[int, int]] = []
        for last in ends:
            if hole != last:
                self._running[hole] = self._running[last]
                moves.append((last, hole))
            hole = last
        self._running.pop()
        if all(other.team != sequence.team for other in self._running):
            self._read_at.pop(sequence.team, None)
        return tuple(moves)

    @property
    def overdrawn(self) -> T | None:
        """Who gives its slot back, because the next step needs more positions than there are."""
        is_short = self.max_positions is not None and self.needed > self.max_positions
        return self.first_to_yield if is_short else None

    @property
    def first_to_yield(self) -> T | None:
        """Of the team whose texts may need most positions, the one that began last, which loses least where it has to
        begin again; never the oldest of all, so None where it is the only one."""
        positions = Counter[str]()
        for sequence in self._running:
            positions[sequence.team] += sequence.most_positions
        younger = sorted(self._running, key=self.age_of)[1:]
        return max(younger, key=lambda one: (positions[one.team], self._turns[one]), default=None)

    def put_back(self, sequence: T) -> tuple[tuple[int, int], ...]:
        """Take its slot for lack of memory. It gets another once a text has ended. Returns as `remove`."""
        moves = self._vacate(sequence)
        bisect.insort(self._returning, sequence, key=self.age_of)
        self._is_short = True
        return moves

    def _admits(self, sequence: T) -> bool:
        if not self._running:
            return True
        if self._is_short or sequence.alone or any(other.alone for other in self._running):
            return False
        texts = (*self._running, sequence)
        if self.max_positions is None or len(texts) > self._max_rows:
            return len(texts) <= self._max_rows
        return max(positions_of(map(_needed, texts)), positions_of(map(_expected, texts))) <= self.max_positions


def _needed(sequence: Schedulable) -> int:
    """Positions that the next step fills: those of its prompt, or one more than are computed."""
    return min(sequence.most_positions, max(sequence.prompt_length, sequence.computed) + 1)


def _expected(sequence: Schedulable) -> int:
    return min(sequence.most_positions, sequence.known_length + MARGIN)
