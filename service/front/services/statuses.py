"""What callers are told about a model and an adapter: the registry's record beside what is in memory."""

from models_registry.records import Adapter, BaseModel
from service.front.hosts.host_manager import Place
from service.front.hosts.hosted_model import HostedModel
from service.front.requests import AdapterStatus, ModelStatus
from service.protocol.types import VersionResidency


def model_status(base: BaseModel, place: Place) -> ModelStatus:
    hosted = place.hosted
    if hosted is None:
        return ModelStatus(base, place.state, place.reason, base.dtype, base.device, base.task, (), place.error)
    now = hosted.status()
    return ModelStatus(
        base=base,
        state=place.state,
        reason=place.reason,
        dtype=hosted.built.dtype,
        device=hosted.built.device,
        task=hosted.built.task,
        resident=now.resident,
        error=place.error,
        warnings=now.warnings,
        is_probed=base.example_inputs is None or now.is_probed,
    )


def adapter_status(adapter: Adapter, hosted: HostedModel | None) -> AdapterStatus:
    if hosted is None:
        return AdapterStatus(adapter, {version.version: VersionResidency() for version in adapter.versions})
    now = hosted.status(adapter.versions)
    residency = {v.version: now.versions.get(v.key, VersionResidency()) for v in adapter.versions}
    return AdapterStatus(adapter, residency, frozenset(v.version for v in adapter.versions if v.key in now.inactive))
