"""What answers say about a model and an adapter: the registry's record beside what is in memory."""

import time

from models_registry.records import Adapter, BaseModel
from service.front.hosts.host_manager import Place
from service.front.hosts.hosted_model import HostedModel
from service.front.requests import AdapterStatus, HostReport, ModelProgress, ModelStatus
from service.protocol.types import VersionResidency

ALMOST = 0.99
"""So much is done at most of a build that isn't over."""


def model_status(base: BaseModel, place: Place) -> ModelStatus:
    hosted = place.hosted
    if hosted is None:
        return ModelStatus(
            base,
            place.state,
            place.reason,
            base.dtype,
            base.device,
            base.task,
            (),
            place.error,
            progress=_progress(place),
        )
    now = hosted.status()
    return ModelStatus(
        base=base,
        state=place.state,
        reason=place.reason,
        dtype=hosted.built.dtype,
        device=hosted.built.device,
        task=hosted.built.task,
        arithmetic=hosted.built.arithmetic,
        resident=now.resident,
        replicas=now.stats.replicas,
        error=place.error,
        warnings=now.warnings,
        is_probed=base.example_inputs is None or now.is_probed,
        progress=None if now.is_probed else ModelProgress("probing", time.monotonic() - place.begun_at),
    )


def host_report(place: Place) -> HostReport:
    work = place.host.work if place.host else None
    return HostReport(
        state=place.state,
        process=place.host.process if place.host else None,
        busy_s=time.monotonic() - work.since if work else None,
        restarts=place.restarts,
        last_death=place.last_death,
    )


def _progress(place: Place) -> ModelProgress | None:
    if place.state not in {"loading", "restarting"}:
        return None
    seconds = time.monotonic() - place.begun_at
    fraction = None if place.usual_s is None else min(seconds / place.usual_s, ALMOST)
    return ModelProgress(place.step, seconds, fraction)


def adapter_status(adapter: Adapter, hosted: HostedModel | None) -> AdapterStatus:
    if hosted is None:
        return AdapterStatus(adapter, {version.version: VersionResidency() for version in adapter.versions})
    now = hosted.status(adapter.versions)
    residency = {v.version: now.versions.get(v.key, VersionResidency()) for v in adapter.versions}
    return AdapterStatus(adapter, residency, frozenset(v.version for v in adapter.versions if v.key in now.inactive))
