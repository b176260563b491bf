"""The query of `GET /usage`: which hours, and by what they are summed up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Query

from models_registry.records import Fault
from models_registry.usage_records import PARTS, Part
from service.front.api.problems import MALFORMED, Refused
from service.suggestions import did_you_mean, name_known

_WORD: Final = f"({'|'.join(PARTS)})"
_PARTS: Final[Mapping[str, Part]] = {part: part for part in PARTS}
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class UsageAsked:
    """Hours that lie at least in part between `since` and `until`."""

    by: tuple[Part, ...]
    since: datetime | None
    until: datetime | None


def read_usage_query(
    since: Annotated[
        str | None,
        Query(
            alias="from",
            max_length=64,
            description="From the hour of this time on; without a zone it is UTC.",
            examples=["2026-11-01T00:00:00Z"],
            json_schema_extra={"format": "date-time"},
        ),
    ] = None,
    until: Annotated[
        str | None,
        Query(
            alias="to",
            max_length=64,
            description="Hours that begin before this time.",
            examples=["2026-12-01T00:00:00Z"],
            json_schema_extra={"format": "date-time"},
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        Query(
            max_length=256,
            description="One object for each of these; without it, one in all.",
            examples=["team,model,adapter"],
            json_schema_extra={"pattern": f"^{_WORD}(,{_WORD})*$"},
        ),
    ] = None,
) -> UsageAsked:
    """Raises `Refused` (400) with everything that is wrong."""
    faults: list[Fault] = []
    by = tuple(_parts(group_by, faults)) if group_by is not None else ()
    begin, end = _time("from", since, faults), _time("to", until, faults)
    if begin is not None and end is not None and begin > end:
        faults.append(Fault(("query", "from"), f"is {since}, which is after to, {until}"))
    if faults:
        raise Refused(MALFORMED, "The usage that is asked for can't be made out.", faults)
    return UsageAsked(by, begin, end)


def _parts(group_by: str, faults: list[Fault]) -> Iterator[Part]:
    found: set[str] = set()
    for word in group_by.split(","):
        if word in found:
            faults.append(Fault(("query", "group_by"), f"names {word} twice"))
            continue
        found.add(word)
        if (part := _PARTS.get(word)) is None:
            meant = did_you_mean(word, PARTS) or name_known(PARTS)
            faults.append(Fault(("query", "group_by"), f"has {word!r}, which is not known here. {meant}"))
        else:
            yield part


def _time(name: str, text: str | None, faults: list[Fault]) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return max(_EARLIEST, (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC))
    except (ValueError, OverflowError):
        message = f"{text!r} is no time; write it as 2026-11-01T00:00:00Z, with a + in it as %2B"
        faults.append(Fault(("query", name), message))
        return None
