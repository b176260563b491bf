"""The manifests of docker/kubernetes, as they lie there: what they name, before kustomize puts them together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
KUSTOMIZATION = "kustomization.yaml"
PARTIAL = ("autoscaling/prometheus-adapter.yaml", "nvidia/gpu.yaml", "ray/names.yaml")
"""Values of a chart, a patch, and kustomize's own configuration."""

Content: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod's template, wherever a manifest has one."""

    owner: str
    metadata: Content
    spec: Content

    @property
    def containers(self) -> list[Content]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    def container(self, name: str) -> Content:
        return next(container for container in self.containers if container["name"] == name)

    def is_chosen(self, labels: Content) -> bool:
        return labels.items() <= self.metadata["labels"].items()


def read(path: str) -> Content:
    return yaml.safe_load((FOLDER / path).read_text(encoding="utf-8"))


@cache
def manifests() -> dict[str, Content]:
    """Every whole one, by its path."""
    paths = [str(path.relative_to(FOLDER)) for path in sorted(FOLDER.rglob("*.yaml")) if path.name != KUSTOMIZATION]
    return {path: read(path) for path in paths if path not in PARTIAL}


def kustomizations() -> dict[Path, Content]:
    """Each by its folder."""
    return {path.parent: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.rglob(KUSTOMIZATION))}


def pods() -> list[Pod]:
    return [pod for manifest in manifests().values() for pod in _pods_of(manifest)]


def pod_of(kind: str) -> Pod:
    """The one pod of a kind that has one, or the head of a RayService."""
    return next(pod for pod in pods() if pod.owner == kind)


def settings() -> dict[str, str]:
    """The variables that base/settings.env gives to every pod."""
    lines = (FOLDER / "base" / "settings.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _pods_of(manifest: Content) -> Iterator[Pod]:
    match manifest["kind"]:
        case "Deployment" | "Job" as kind:
            yield _pod(kind, manifest["spec"]["template"])
        case "RayService" as kind:
            cluster = manifest["spec"]["rayClusterConfig"]
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                yield _pod(kind, group["template"])
        case _:
            return


def _pod(kind: str, template: Content) -> Pod:
    return Pod(kind, template["metadata"], template["spec"])
