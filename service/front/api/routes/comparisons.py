"""How the versions do that an alias names, and how a shadow's answers compare with theirs."""

from collections.abc import Mapping

from fastapi import APIRouter
from pydantic import BaseModel, Field

from models_registry.alias_counters import Latency, percentile
from models_registry.records import Rollout
from service.front.access.names import shown
from service.front.api.dependencies import AdapterName, TheEngine
from service.front.api.problems import documented
from service.front.api.routes.aliases import AliasName
from service.front.services.rollouts import Comparison

router = APIRouter(tags=["adapters"])


class LatencyAnswer(BaseModel):
    """Milliseconds from the hand-over to the model's process to its answer, at most a quarter too many."""

    p50_ms: float | None = Field(description="Half took no longer; null without any.", examples=[12.5])
    p95_ms: float | None = Field(description="95 of 100 took no longer; null without any.", examples=[48.0])


class VersionComparison(BaseModel):
    version: int = Field(description="The version's number.", examples=[3])
    share: float = Field(description="Its share of the alias's requests now.", examples=[0.9])
    requests: int = Field(description="Those that it got under this alias, but for callers who left.", examples=[900])
    errors: int = Field(description="Those of them that got no answer.", examples=[2])
    error_rate: float | None = Field(description="Their share; null without requests.", examples=[0.0022])
    latency: LatencyAnswer = Field(title="Latency", description="Of the answers.")


class ShadowComparison(BaseModel):
    version: int = Field(description="The shadow's number.", examples=[4])
    against: int = Field(description="The version that answered the callers.", examples=[3])
    equal: int = Field(description="Answers that have the same bits, or the same texts.", examples=[88])
    close: int = Field(description="Answers whose numbers differ by at most 1e-5.", examples=[2])
    different: int = Field(description="Other answers.", examples=[9])
    failed: int = Field(description="Requests that the shadow didn't answer.", examples=[1])
    dropped: int = Field(description="Requests for which there was no spare capacity.", examples=[20])
    latency: LatencyAnswer = Field(title="Latency", description="Of the shadow's answers.")
    their_latency: LatencyAnswer = Field(title="Their latency", description="Of the answers to compare with.")


class ComparisonAnswer(BaseModel):
    """Counted since the alias was made, over all processes; up to ten seconds late for others than the one that is
    asked."""

    name: str = Field(description="The adapter's name.", examples=["pirate"])
    alias: str = Field(description="The alias.", examples=["prod"])
    versions: list[VersionComparison] = Field(description="Those that it names or named, in ascending order.")
    shadows: list[ShadowComparison] = Field(description="Each shadow beside each version that it was compared with.")


@router.get("/adapters/{name}/aliases/{alias}/comparison", responses=documented(404))
def compare_versions(name: AdapterName, alias: AliasName, engine: TheEngine) -> ComparisonAnswer:
    """Requests, errors and latencies of each version under an alias; equal and different answers of its shadow."""
    return _show(engine.rollouts.comparison(engine.adapters.find(name).adapter, alias))


def _show(found: Comparison) -> ComparisonAnswer:
    adapter, alias = found.adapter, found.alias
    shares = adapter.rollouts.get(alias, Rollout({adapter.aliases[alias]: 1.0})).shares
    numbers = sorted({*shares, *found.answered})
    return ComparisonAnswer(
        name=shown(adapter.name),
        alias=alias,
        versions=[_show_version(number, shares.get(number, 0.0), found.answered.get(number, {})) for number in numbers],
        shadows=[_show_shadow(*pair, counts) for pair, counts in sorted(found.shadowed.items())],
    )


def _show_version(number: int, share: float, counts: Mapping[str, int]) -> VersionComparison:
    errors = counts.get("failed", 0)
    requests = counts.get("answered", 0) + errors
    return VersionComparison(
        version=number,
        share=share,
        requests=requests,
        errors=errors,
        error_rate=errors / requests if requests else None,
        latency=_latency(counts, "latency"),
    )


def _show_shadow(version: int, against: int, counts: Mapping[str, int]) -> ShadowComparison:
    outcomes = ("equal", "close", "different", "failed", "dropped")
    return ShadowComparison(
        version=version,
        against=against,
        **{name: counts.get(name, 0) for name in outcomes},
        latency=_latency(counts, "latency"),
        their_latency=_latency(counts, "theirs"),
    )


def _latency(counts: Mapping[str, int], of: Latency) -> LatencyAnswer:
    p50, p95 = (percentile(counts, of, share) for share in (0.5, 0.95))
    return LatencyAnswer(p50_ms=p50 and p50 * 1000, p95_ms=p95 and p95 * 1000)
