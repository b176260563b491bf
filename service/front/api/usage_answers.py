"""What was used, as JSON and as CSV."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final

from pydantic import BaseModel, Field

from models_registry.usage_records import Part, PartValue, Sums, UsageCounts
from service.front.access.names import shown

CSV: Final = "text/csv"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is computed by spreadsheets, with whatever it calls."""


class UsageItem(BaseModel):
    """What one group used. It has the parts that `group_by` named; null stands for none."""

    team: str | None = Field(
        default=None, description="Whose calls; of stored bytes, whose adapters.", examples=["fraud"]
    )
    model: str | None = Field(
        default=None, description="The base model; null: calls to one that isn't there.", examples=["smollm2"]
    )
    adapter: str | None = Field(default=None, description="As the caller writes it; null: the base.", examples=["tone"])
    version: int | None = Field(default=None, description="The adapter's; null: the base.", examples=[3])
    key: str | None = Field(
        default=None, description="The id of the key that called; null: none, or stored bytes.", examples=["k5x2m7qa"]
    )
    hour: datetime | None = Field(default=None, description="When it began.", examples=["2026-11-28T07:00:00Z"])
    requests: int = Field(description="Inference calls that were answered, by their first row.", examples=[120])
    rows: int = Field(description="Rows that ran.", examples=[240])
    prompt_tokens: int = Field(description="Tokens that were read, cached ones too.", examples=[3100])
    cached_tokens: int = Field(description="Prompt tokens that were in memory already.", examples=[1024])
    generated_tokens: int = Field(description="Tokens that were written.", examples=[880])
    forward_seconds: float = Field(description="The rows' share of the time that forwards took.", examples=[12.5])
    stored_byte_hours: float = Field(description="Bytes of stored versions, times hours.", examples=[73728.0])
    errors: int = Field(description="Inference calls that were not answered.", examples=[2])


class UsageAnswer(BaseModel):
    items: list[UsageItem] = Field(description="One for each group, in order of their parts.")


_COUNTS: Final = tuple(name for name, field in UsageItem.model_fields.items() if field.is_required())


def as_items(by: tuple[Part, ...], sums: Sums) -> list[UsageItem]:
    return [UsageItem(**parts, **counts) for parts, counts in _in_order(by, sums)]


def as_csv(by: tuple[Part, ...], sums: Sums) -> str:
    """A line of names, then one for each group."""
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow((*by, *_COUNTS))
    for parts, counts in _in_order(by, sums):
        writer.writerow((*map(_cell, parts.values()), *counts.values()))
    return text.getvalue()


def _in_order(by: tuple[Part, ...], sums: Sums) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Parts and counts of each group; without parts there is always the one."""
    found = sums if by or sums else {(): UsageCounts()}
    for place, counts in sorted(found.items(), key=lambda entry: entry[0]):
        parts = {part: _shown(part, value) for part, value in zip(by, place, strict=True)}
        yield parts, _named(counts)


def _shown(part: Part, value: PartValue) -> PartValue | None:
    if part == "adapter" and isinstance(value, str) and value:
        return shown(value)
    return value or None


def _named(counts: UsageCounts) -> dict[str, Any]:
    return {
        "requests": counts.requests,
        "rows": counts.rows,
        "prompt_tokens": counts.prompt_tokens,
        "cached_tokens": counts.cached_tokens,
        "generated_tokens": counts.generated_tokens,
        "forward_seconds": counts.forward_s,
        "stored_byte_hours": counts.byte_hours,
        "errors": counts.errors,
    }


def _cell(value: PartValue | None) -> PartValue:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
