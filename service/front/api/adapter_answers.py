"""What answers say of adapters and their versions: the answers' schemas, and how records become answers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import Response
from pydantic import BaseModel, Field

from models_registry.records import AdapterVersion, Rollout, Visibility
from models_registry.references import pick_version
from service.front.access.names import shown, shown_in
from service.front.requests import AdapterStatus, CreatedAdapter
from service.protocol.types import Residency, VersionResidency

MOST_TARGETS_LISTED = 20
"""PEFT, too, writes patterns for more names than that."""


class _VersionFields(BaseModel):
    version: int = Field(description="The version's number, from 1 on.", examples=[3])
    reference: str = Field(description="What names exactly this version.", examples=["pirate@3"])
    method: str = Field(description="The adapter method, as PEFT's `peft_type`.", examples=["LORA", "ADALORA", "IA3"])
    digest: str = Field(description="The sha256 of the stored state dict.", examples=[f"sha256:{'1f' * 32}"])
    parameters: int = Field(description="How many numbers it has.", examples=[921600])
    bytes: int = Field(description="The size of the stored state dict.", examples=[3694080])
    target_count: int = Field(description="How many modules of the base model it acts on.", examples=[60])
    target_modules: str | list[str] | None = Field(
        description="The config's own pattern for them; null where it has none, or lists more than 20 names.",
        examples=[["q_proj", "v_proj"], "all-linear"],
    )


_Adapter = Annotated[str, Field(description="The adapter's name.", examples=["pirate"])]
_Model = Annotated[str, Field(description="Its base model's id.", examples=["smollm2"])]
_CreatedAt = Annotated[datetime, Field(description="When it was created.", examples=["2026-11-28T07:00:00Z"])]
_InFlight = Annotated[int, Field(description="The requests that are using it.", examples=[0])]
_Residency = Annotated[
    Residency, Field(title="Residency", description="Stored as a blob, staged in memory, or resident in the model.")
]
_Damaged = Annotated[
    bool, Field(description="Its stored bytes were found to be wrong or gone; not served.", examples=[False])
]
_WithoutEffect = Annotated[
    bool,
    Field(description="Its last request entered no module on which it acts, and was refused.", examples=[False]),
]
_Targets = Annotated[
    list[str],
    Field(description="The modules of the base model that it acts on.", examples=[["model.layers.0.self_attn.q_proj"]]),
]


class CreatedAnswer(_VersionFields):
    """The version that was created, or would be by this request without `dry_run`."""

    name: _Adapter
    model: _Model
    targets: _Targets
    warnings: list[str] = Field(
        description="What is not wrong, but may not be meant so.",
        examples=[["The base model's forward was not seen to enter 'pooler'."]],
    )
    unchanged: bool = Field(
        default=False, description="The newest version had these weights already; none was made.", examples=[False]
    )


class VersionAnswer(_VersionFields):
    created_at: _CreatedAt
    created_by: str | None = Field(description="The id of the key that made it; null: none.", examples=["k5x2m7qa"])
    metadata: Mapping[str, Any] = Field(description="What its creator gave with it.", examples=[{"run": "7"}])
    labels: dict[str, str] = Field(description="Its team's own words for finding it.", examples=[{"stage": "canary"}])
    residency: _Residency
    pinned: bool = Field(description="It is never evicted: loaded with `pin=true`.", examples=[False])
    in_flight: _InFlight
    memory_bytes: int = Field(description="What it takes in memory now.", examples=[3686400])
    last_used_at: datetime | None = Field(
        description="By a request, since its base model was loaded.", examples=["2026-11-28T07:05:00Z"]
    )
    load_s: float | None = Field(
        description="Seconds that it took the last time to be read, checked and prepared.", examples=[0.012]
    )
    damaged: _Damaged
    without_effect: _WithoutEffect


class WholeVersionAnswer(VersionAnswer):
    """One version with all its targets, and the aliases that point to it."""

    name: _Adapter
    model: _Model
    targets: _Targets
    aliases: list[str] = Field(description="The aliases that point to it.", examples=[["prod"]])


class VersionsAnswer(BaseModel):
    versions: list[VersionAnswer] = Field(description="In ascending order.")


class RolloutAnswer(BaseModel):
    """How an alias divides its requests."""

    versions: dict[str, float] = Field(description="Each version's share of them.", examples=[{"3": 0.9, "4": 0.1}])
    shadow: int | None = Field(description="The version on which some are run too.", examples=[None, 4])
    shadow_share: float | None = Field(description="Their share.", examples=[None, 0.1])


class AdapterAnswer(_VersionFields):
    """An adapter with the fields of its newest version, and all its versions in ascending order."""

    name: _Adapter
    model: _Model
    created_at: _CreatedAt
    residency: _Residency
    in_flight: _InFlight
    damaged: _Damaged
    without_effect: _WithoutEffect
    visibility: Visibility = Field(description="`shared`: other teams see and use it, as `team:name`.")
    description: str | None = Field(description="Its team's own words.", examples=["answers as a pirate would"])
    owner: str | None = Field(description="Whom to ask.", examples=["data-science@example.org"])
    labels: dict[str, str] = Field(description="Its team's own words for finding it.", examples=[{"stage": "prod"}])
    last_used_at: datetime | None = Field(
        description="In lists: by a request to any process, up to some seconds late.", examples=["2026-11-28T07:05:00Z"]
    )
    aliases: dict[str, int] = Field(
        description="Movable names of versions; of one that splits, the version with the greatest share.",
        examples=[{"prod": 3}],
    )
    rollouts: dict[str, RolloutAnswer] = Field(
        description="The aliases that split or have a shadow.",
        examples=[{"prod": {"versions": {"3": 0.9, "4": 0.1}, "shadow": None, "shadow_share": None}}],
    )
    versions: list[VersionAnswer] = Field(description="All of them, in ascending order.")


def _fields(version: AdapterVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "reference": shown(version.reference),
        "method": version.method,
        "digest": f"sha256:{version.digest}",
        "parameters": version.parameters,
        "bytes": version.bytes,
        "target_count": len(version.targets),
        "target_modules": _pattern(version.config.get("target_modules")),
    }


def _pattern(targets: Any) -> str | list[str] | None:
    if isinstance(targets, str):
        return targets
    return list(targets) if targets and len(targets) <= MOST_TARGETS_LISTED else None


def _show_residency(where: VersionResidency) -> dict[str, Any]:
    return {
        "residency": where.tier,
        "pinned": where.pinned,
        "in_flight": where.in_flight,
        "memory_bytes": where.bytes,
        "last_used_at": where.last_used_at,
        "load_s": where.load_s,
    }


def show_created(created: CreatedAdapter) -> CreatedAnswer:
    version = created.version
    return CreatedAnswer(
        **_fields(version),
        name=shown(version.adapter),
        model=version.model,
        targets=list(version.targets),
        warnings=[shown_in(warning) for warning in created.warnings],
        unchanged=created.unchanged,
    )


def show_new_version(created: CreatedAdapter, response: Response) -> CreatedAnswer:
    """With the headers that lead to its state."""
    version = created.version
    response.headers["Location"] = f"/adapters/{shown(version.adapter)}/state?version={version.version}"
    response.headers["ETag"] = f'"{version.digest}"'
    return show_created(created)


def _show_version(version: AdapterVersion, status: AdapterStatus) -> dict[str, Any]:
    return {
        **_fields(version),
        "created_at": version.created_at,
        "created_by": version.created_by,
        "metadata": version.metadata,
        "labels": dict(version.labels),
        **_show_residency(status.residency[version.version]),
        "damaged": version.damaged,
        "without_effect": version.version in status.inactive,
    }


def show_versions(status: AdapterStatus) -> list[VersionAnswer]:
    return [VersionAnswer(**_show_version(version, status)) for version in status.adapter.versions]


def show_adapter(status: AdapterStatus, last_used_at: datetime | None = None) -> AdapterAnswer:
    """`last_used_at` as the database has it, which only lists read."""
    adapter = status.adapter
    newest = adapter.versions[-1]
    return AdapterAnswer(
        **_fields(newest),
        name=shown(adapter.name),
        visibility=adapter.visibility,
        description=adapter.description,
        owner=adapter.owner,
        labels=dict(adapter.labels),
        last_used_at=last_used_at,
        model=adapter.model,
        created_at=adapter.created_at,
        residency=status.residency[newest.version].tier,
        in_flight=status.in_flight,
        damaged=newest.damaged,
        without_effect=newest.version in status.inactive,
        aliases=dict(adapter.aliases),
        rollouts={alias: show_rollout(rollout) for alias, rollout in sorted(adapter.rollouts.items())},
        versions=show_versions(status),
    )


def show_rollout(rollout: Rollout) -> RolloutAnswer:
    return RolloutAnswer(
        versions={str(version): share for version, share in rollout.shares.items()},
        shadow=rollout.shadow,
        shadow_share=None if rollout.shadow is None else rollout.shadow_share,
    )


def show_whole_version(status: AdapterStatus, number: int) -> WholeVersionAnswer:
    """Raises `NotFound`."""
    version = pick_version(status.adapter, f"{status.adapter.name}@{number}")
    return WholeVersionAnswer(
        **_show_version(version, status),
        name=shown(version.adapter),
        model=version.model,
        targets=list(version.targets),
        aliases=list(status.adapter.aliases_of(number)),
    )
