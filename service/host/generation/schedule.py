"""Which texts run, in which slots, and what each step computes. Pure Python: it sees lengths, never tensors.

Running texts have the slots 0, 1, …; a text that ends is replaced by the last one. A text is read in chunks of `CHUNK`
tokens from position 0, one chunk a step, and then written token by token together with all others. So what is computed
for a text follows from the text alone. Teams take turns: for slots, and for the chunk of each step.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from service.host.scheduling.team_turns import TeamTurns

CHUNK: Final = 128
FEWEST_ROWS: Final = 4
"""With fewer rows, a processor's matrix products give a row other bits than with more."""
FEWEST_POSITIONS: Final = 128


def rows_for(count: int) -> int:
    """How many rows a decode step for so many texts has: one of a fixed set, so that a text's bits don't depend on how
    many others there are."""
    return max(FEWEST_ROWS, 1 << (count - 1).bit_length())


def room_for(length: int) -> int:
    """How many positions a slot has that holds so many."""
    return max(FEWEST_POSITIONS, 1 << (length - 1).bit_length())


def positions_of(count: int, longest: int) -> int:
    """Of all slots, for so many texts."""
    return rows_for(count) * room_for(longest)


class Schedulable(Protocol):
    """A text as the schedule sees it: `computed` positions of the `prompt_length` that it began with are in its slot,
    and it never has more than `most_positions`. One that is `alone` shares no step. It is written for its `team`."""

    @property
    def team(self) -> str: ...
    @property
    def prompt_length(self) -> int: ...
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
    slot: int
    start: int
    end: int


class Schedule(Generic[T]):
    """At most `max_rows` texts run, in slots of at most `max_positions` in all (None: as many as they like)."""

    def __init__(self, max_rows: int, max_positions: int | None = None) -> None:
        self._max_rows = max_rows
        self.max_positions = max_positions
        self._waiting: TeamTurns[T] = TeamTurns()
        self._running: list[T] = []
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
        return (*self._running, *self._waiting)

    @property
    def room(self) -> int:
        """How many more texts may begin at once. While some wait, one of any other team may come to wait beside them
        for the next slots."""
        return 1 if self._waiting else max(0, self._max_rows - len(self._running))

    @property
    def waiting_teams(self) -> Collection[str]:
        """Teams whose texts wait for slots; no more of theirs may begin."""
        return self._waiting.teams

    def fits(self, most_positions: int, count: int = 1) -> bool:
        """Whether so many texts of so many positions can ever run at once."""
        return self._fit(count, most_positions)

    @property
    def longest(self) -> int:
        """The most positions of a text that can ever run, where `max_positions` bounds them."""
        return 1 << (((self.max_positions or 0) // FEWEST_ROWS).bit_length() - 1)

    @property
    def reserved(self) -> int:
        """Positions of all slots, once each text has as many as it may need."""
        if not self._running:
            return 0
        return positions_of(len(self._running), max(sequence.most_positions for sequence in self._running))

    def add(self, sequences: Iterable[T]) -> None:
        for sequence in sequences:
            self._waiting.add(sequence.team, sequence)

    def admit(self) -> tuple[T, ...]:
        """Give slots to those that wait, one of each team in turn, while there is room. Returns them."""
        admitted: list[T] = []
        while (sequence := self._waiting.first) is not None and self._admits(sequence):
            self._waiting.pop()
            self._running.append(sequence)
            self._turns[sequence] = self._turn
            self._turn += 1
            admitted.append(sequence)
        return tuple(admitted)

    def next_chunk(self) -> Chunk[T] | None:
        """Of the text that has waited longest among those whose prompts aren't computed yet: of the team whose last
        chunk is longest ago."""
        unread = [
            (self._read_at.get(sequence.team, -1), self._turns[sequence], slot)
            for slot, sequence in enumerate(self._running)
            if sequence.computed < sequence.prompt_length
        ]
        if not unread:
            return None
        *_, slot = min(unread)
        sequence = self._running[slot]
        self._chunks += 1
        self._read_at[sequence.team] = self._chunks
        start = sequence.computed
        return Chunk(sequence, slot, start, min(sequence.prompt_length, start - start % CHUNK + CHUNK))

    @property
    def decoding(self) -> tuple[T, ...]:
        """Those that take part in a decode step, by slot."""
        return tuple(sequence for sequence in self._running if sequence.computed >= sequence.prompt_length)

    def slot_of(self, sequence: T) -> int:
        return self._running.index(sequence)

    def remove(self, sequence: T) -> tuple[int, int] | None:
        """It has ended. Returns the slot of the last text and the one that it moves to; None where none has to move."""
        self._is_short = False
        if sequence not in self._turns:
            self._waiting.remove(sequence.team, sequence)
            return None
        slot, last = self.slot_of(sequence), len(self._running) - 1
        del self._turns[sequence]
        moved = self._running.pop()
        if not any(other.team == sequence.team for other in (moved, *self._running) if other is not sequence):
            self._read_at.pop(sequence.team, None)
        if slot == last:
            return None
        self._running[slot] = moved
        return last, slot

    @property
    def first_to_yield(self) -> T | None:
        """Of the team whose texts may need most positions, the one that began last, which loses least where it has to
        begin again; None where it is the only one."""
        if len(self._running) < 2:
            return None
        positions = Counter[str]()
        for sequence in self._running:
            positions[sequence.team] += sequence.most_positions
        return max(self._running, key=lambda sequence: (positions[sequence.team], self._turns[sequence]))

    def put_back(self, sequence: T) -> tuple[int, int] | None:
        """Take its slot for lack of memory. It is the next one of its team to get another, once a text has ended.
        Returns as `remove`."""
        moved = self.remove(sequence)
        self._waiting.add_first(sequence.team, sequence)
        self._is_short = True
        return moved

    def _admits(self, sequence: T) -> bool:
        if not self._running:
            return True
        if self._is_short or sequence.alone or any(other.alone for other in self._running):
            return False
        longest = max(other.most_positions for other in (sequence, *self._running))
        count = len(self._running) + 1
        return count <= self._max_rows and self._fit(count, longest)

    def _fit(self, count: int, longest: int) -> bool:
        return self.max_positions is None or positions_of(count, longest) <= self.max_positions
