"""The call that says what was used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from service.client.calls import Call, path
from service.client.records import Raw


@dataclass(frozen=True, slots=True)
class Used:
    """What one group used. `raw` has the parts that it was grouped by, such as `raw["team"]`."""

    requests: int
    rows: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    forward_seconds: float
    stored_byte_hours: float
    errors: int
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Self:
        return cls(
            raw["requests"],
            raw["rows"],
            raw["prompt_tokens"],
            raw["cached_tokens"],
            raw["generated_tokens"],
            raw["forward_seconds"],
            raw["stored_byte_hours"],
            raw["errors"],
            raw,
        )


def read_usage(by: Sequence[str], since: datetime | None, until: datetime | None) -> Call[tuple[Used, ...]]:
    params = {"from": since, "to": until}
    return Call(
        "GET",
        path("usage"),
        lambda answer: tuple(Used.read(item) for item in answer.json()["items"]),
        params={
            **{name: time.isoformat() for name, time in params.items() if time is not None},
            **({"group_by": ",".join(by)} if by else {}),
        },
    )
