"""What a problem looks like as JSON, for the OpenAPI document too."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, Field

ProblemType: TypeAlias = Literal[
    "adapter-without-effect",
    "address-too-long",
    "conflict",
    "damaged-blob",
    "deadline-passed",
    "failed-logins",
    "forbidden",
    "headers-too-large",
    "host-restarting",
    "internal",
    "invalid",
    "limit",
    "malformed",
    "method-not-allowed",
    "no-room",
    "not-found",
    "outside-lora-root",
    "overloaded",
    "range-not-satisfiable",
    "refused",
    "request-ends-host",
    "rows-not-independent",
    "context-length-exceeded",
    "stale",
    "too-large",
    "unauthenticated",
    "unavailable",
    "unsupported",
    "unsupported-encoding",
    "unsupported-media-type",
]
"""What a client compares. A new kind of problem adds its slug here, so that generated clients know it."""


class ProblemError(BaseModel):
    loc: list[str | int] = Field(description="Where it is, from the outside in.", examples=[["config", "r"]])
    message: str = Field(description="What is wrong with it, and what to do.", examples=["must be at least 1"])


class Problem(BaseModel):
    """An error, as RFC 9457 writes it. `errors` lists every offending thing where there are several: the first 1000,
    and `detail` then says how many there are."""

    type: ProblemType = Field(description="A stable slug: what a client compares.", examples=["not-found"])
    title: str = Field(description="What every problem of this type is.", examples=["There is no such thing"])
    status: int = Field(description="The HTTP status, once more.", examples=[404])
    detail: str = Field(
        description="What was wrong this time, and what to do.", examples=["There is no adapter 'tone'."]
    )
    errors: list[ProblemError] = Field(default=[], description="Every offending thing, where there are several.")
    hint: str | None = Field(
        default=None,
        description="Another way to what the caller probably wants, where one is known.",
        examples=["Did you mean 'limit'?"],
    )
    request_id: str = Field(
        description="The answer's X-Request-ID, which stands in the service's log line for this request.",
        examples=["5f0c6f2e8c4b4f0f9a5a3d1d8b1f7a10"],
    )
