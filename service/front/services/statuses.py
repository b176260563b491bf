"""What callers are told about a model and an adapter: the registry's record beside what is in memory."""

from models_registry.records import Adapter, BaseModel
from service.front.hosts.host_manager import Place
from service.front.requests import AdapterStatus, ModelStatus, VersionResidency
from service.front.resolution.registry_snapshot import slot
from service.host.model_host import HostedModel


def model_status(base: BaseModel, place: Place) -> ModelStatus:
    hosted = place.hosted
    return ModelStatus(
        base=base,
        state=place.state,
        reason=place.reason,
        dtype=hosted.dtype if hosted else base.dtype,
        device=hosted.device if hosted else base.device,
        task=hosted.spec.task if hosted else base.task,
        resident=hosted.adapters.resident if hosted else (),
        error=place.error,
        warnings=hosted.warnings if hosted else (),
        is_probed=hosted is None or base.example_inputs is None or hosted.probing.done(),
    )


def adapter_status(adapter: Adapter, hosted: HostedModel | None) -> AdapterStatus:
    if hosted is None:
        return AdapterStatus(adapter, {version.version: VersionResidency() for version in adapter.versions})
    residency = hosted.adapters.residency(adapter.versions)
    silent = frozenset(v.version for v in adapter.versions if slot(v) in hosted.adapted.silent)
    return AdapterStatus(adapter, residency, silent)
