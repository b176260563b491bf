"""The manifests of docker/kubernetes are ones that Kubernetes takes, and name each other and what the service has.

Kustomize itself isn't at hand: that its files name what is there is as far as this goes.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from manifests import FOLDER, Pod, kustomizations, manifests, pod_of, pods, read, settings

from service.front.access.route_roles import OPEN
from service.front.api.routes import health
from service.server import GRACE_S
from service.settings import Settings, may_lie_in_file

DOCKERFILE = (FOLDER.parent / "Dockerfile").read_text()
ROOT = FOLDER.parents[1]
SCHEMAS = Path(__file__).parents[1] / "data" / "kubernetes"
VERSIONS = ("1.30", "1.37")
"""The oldest and the newest that the manifests are for."""
BYTES = {"Mi": 1 << 20, "Gi": 1 << 30}
FRONT, MIGRATION = pod_of("Deployment"), pod_of("Job")


def size(quantity: str) -> int:
    return int(quantity[:-2]) * BYTES[quantity[-2:]]


def seconds(probe: Mapping[str, Any]) -> int:
    return probe["periodSeconds"] * probe["failureThreshold"]


@pytest.mark.parametrize("path", manifests())
def test_kubernetes_takes_the_manifest(path: str) -> None:
    manifest = manifests()[path]
    own = SCHEMAS / f"{manifest['kind']}.json"
    if own.exists():
        Draft202012Validator(json.loads(own.read_text())).validate(manifest)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(dict(manifest), version, strict=True)


@pytest.mark.parametrize("pod", pods(), ids=lambda pod: f"{pod.owner}-{pod.containers[-1]['name']}")
def test_kubernetes_takes_the_pods_also_inside_of_other_kinds(pod: Pod) -> None:
    spec = {"restartPolicy": "Never", **pod.spec}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **pod.metadata}, "spec": spec}
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_manifest_with_a_misspelt_key_is_not_taken() -> None:
    monitor = read("monitoring/service-monitor.yaml")
    schema = json.loads((SCHEMAS / "ServiceMonitor.json").read_text())
    wrong = {**monitor, "spec": {**monitor["spec"], "endpoint": []}}
    assert not Draft202012Validator(schema).is_valid(wrong)


def test_kustomizations_name_all_files_beside_them_and_only_these() -> None:
    for folder, content in kustomizations().items():
        named = [*content.get("resources", ()), *content.get("components", ()), *content.get("configurations", ())]
        named += [patch["path"] for patch in content.get("patches", ()) if "path" in patch]
        named += [file for generator in content.get("configMapGenerator", ()) for file in generator.get("envs", ())]
        assert [name for name in named if not (folder / name).exists()] == []
        assert all((folder / name / "kustomization.yaml").exists() for name in named if (folder / name).is_dir())
        beside = {path.name for path in folder.iterdir() if path.is_file()} - {"kustomization.yaml"}
        assert beside - set(named) <= {"prometheus-adapter.yaml"}, folder


def test_patches_change_what_there_is() -> None:
    gpu, deployment = read("nvidia/gpu.yaml"), read("fronts/fronts.yaml")
    assert (gpu["kind"], gpu["metadata"]["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    (container,) = gpu["spec"]["template"]["spec"]["containers"]
    assert FRONT.container(container["name"])
    (patch,) = kustomizations()[FOLDER / "autoscaling"]["patches"]
    assert patch["target"] == {"kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert [step["path"] for step in yaml.safe_load(patch["patch"])] == ["/spec/replicas"]
    assert "replicas" in deployment["spec"]


def test_both_examples_set_an_image_and_a_bucket() -> None:
    for form in ("fronts", "ray"):
        example = kustomizations()[FOLDER / "example" / form]
        assert [image["name"] for image in example["images"]] == ["adapter-service"]
        (generator,) = example["configMapGenerator"]
        assert (generator["name"], generator["behavior"]) == ("adapter-service", "merge")
        assert "ADAPTER_SERVICE_BLOB_URL" in " ".join(generator["literals"])


def test_what_pods_refer_to_is_there() -> None:
    by_kind = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests().values()}
    keys = set(by_kind["Secret", "adapter-service"]["stringData"])
    (generator,) = kustomizations()[FOLDER / "base"]["configMapGenerator"]
    for pod in pods():
        assert ("ServiceAccount", pod.spec["serviceAccountName"]) in by_kind
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        for volume in volumes.values():
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in by_kind
                assert {item["key"] for item in volume["secret"]["items"]} <= keys
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in by_kind
        for container in pod.containers:
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
            assert {source["configMapRef"]["name"] for source in container.get("envFrom", ())} <= {generator["name"]}
            for variable in container["env"]:
                if "valueFrom" in variable:
                    assert variable["valueFrom"]["secretKeyRef"]["key"] in keys


def test_files_of_secrets_lie_where_the_settings_say() -> None:
    for pod in pods():
        (files,) = (volume["secret"]["items"] for volume in pod.spec["volumes"] if "secret" in volume)
        for container in pod.containers:
            (at,) = (mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secrets")
            named = {v["value"] for v in container["env"] if v["name"].endswith("_FILE")}
            assert named == {f"{at}/{item['path']}" for item in files}


def test_the_services_selectors_choose_the_fronts_and_nothing_else() -> None:
    chosen = {
        "fronts/service.yaml": read("fronts/service.yaml")["spec"]["selector"],
        **{
            path: read(path)["spec"]["selector"]["matchLabels"]
            for path in ("fronts/fronts.yaml", "fronts/disruption-budget.yaml")
        },
        **{
            spread["topologyKey"]: spread["labelSelector"]["matchLabels"]
            for spread in FRONT.spec["topologySpreadConstraints"]
        },
    }
    for where, labels in chosen.items():
        assert FRONT.is_chosen(labels), where
        assert not any(pod.is_chosen(labels) for pod in pods() if pod.owner != "Deployment"), where
    monitored = read("monitoring/service-monitor.yaml")["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= read("fronts/service.yaml")["metadata"]["labels"].items()


def test_the_network_policies_hold_for_every_pod() -> None:
    policies = [m for m in manifests().values() if m["kind"] == "NetworkPolicy"]
    for pod in pods():
        assert any(pod.is_chosen(policy["spec"]["podSelector"]["matchLabels"]) for policy in policies), pod.owner


def test_callers_reach_only_the_port_of_the_service() -> None:
    def opened_to(rule: Mapping[str, Any]) -> set[str]:
        return {source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for source in rule["from"]}

    ray = read("ray/network-policy.yaml")["spec"]["ingress"][1]
    assert (opened_to(ray), ray["ports"]) == ({"ingress-nginx", "monitoring"}, [{"port": "serve"}])
    (front,) = read("fronts/network-policy.yaml")["spec"]["ingress"]
    assert front["ports"] == [{"port": "http"}]


def test_pods_are_nobody_special_and_write_only_where_nothing_stays() -> None:
    user = int(re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)[0])
    for pod in pods():
        assert pod.spec["automountServiceAccountToken"] is False
        # Kubernetes would name this namespace's Services in ADAPTER_SERVICE_…, which are no settings.
        assert pod.spec["enableServiceLinks"] is False
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["securityContext"]["runAsUser"] == pod.spec["securityContext"]["fsGroup"] == user
        empty = {volume["name"] for volume in pod.spec["volumes"] if "emptyDir" in volume}
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {m["name"] for m in container["volumeMounts"] if not m.get("readOnly")} == empty
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_the_image_keeps_home_and_models_where_they_are_mounted() -> None:
    assert "HOME=/tmp" in DOCKERFILE
    mounted = {mount["name"]: mount["mountPath"] for mount in FRONT.container("front")["volumeMounts"]}
    assert mounted["models"] == settings()["ADAPTER_SERVICE_MODEL_ROOTS"]
    assert f"{mounted['models']} " in DOCKERFILE
    assert mounted["tmp"] == "/tmp"


def test_settings_are_ones_that_the_service_has() -> None:
    given = {variable["name"] for pod in pods() for container in pod.containers for variable in container["env"]}
    given |= set(settings()) | set(re.findall(r"ADAPTER_SERVICE_\w+", "".join(map(str, kustomizations().values()))))
    plain = {f"ADAPTER_SERVICE_{name.upper()}" for name in Settings.model_fields}
    files = {
        f"ADAPTER_SERVICE_{n.upper()}_FILE" for n, field in Settings.model_fields.items() if may_lie_in_file(n, field)
    }
    assert {name for name in given if name.startswith("ADAPTER_SERVICE_")} - plain - files == set()


def test_the_service_takes_the_settings_of_the_front(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = read("example/shared/secret.yaml")["stringData"]
    for name, value in settings().items():
        monkeypatch.setenv(name, value)
    for variable in FRONT.container("front")["env"]:
        if variable["name"].endswith("_FILE"):
            file = tmp_path / Path(variable["value"]).name
            file.write_text(secret[file.name])
            monkeypatch.setenv(variable["name"], str(file))
    taken = Settings()
    assert taken.database_url == secret["database-url"]
    assert taken.port == FRONT.container("front")["ports"][0]["containerPort"]
    assert f"EXPOSE {taken.port}" in DOCKERFILE
    assert not taken.migrates_at_start
    limit = size(FRONT.container("front")["resources"]["limits"]["memory"])
    assert taken.host_memory is not None
    assert taken.host_memory < limit
    # The drain, the requests that run, and then some seconds for the models' processes.
    assert FRONT.spec["terminationGracePeriodSeconds"] >= taken.drain_delay + GRACE_S + 30


def test_probes_ask_for_paths_that_need_no_key() -> None:
    front = FRONT.container("front")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = front[probe]["httpGet"]["path"]
        assert path in {getattr(route, "path", "") for route in health.router.routes}
        assert path in OPEN
        assert front[probe]["httpGet"]["port"] in {port["name"] for port in front["ports"]}


def test_only_the_startup_waits_for_what_may_be_away_later() -> None:
    front, rollout = FRONT.container("front"), read("fronts/fronts.yaml")["spec"]
    assert front["startupProbe"]["httpGet"]["path"] == "/health/ready"
    (generator,) = kustomizations()[FOLDER / "fronts"]["configMapGenerator"]
    (grace,) = (line.removeprefix("ADAPTER_SERVICE_READY_GRACE=") for line in generator["literals"])
    assert seconds(front["startupProbe"]) > float(grace) >= Settings().load_timeout
    assert rollout["progressDeadlineSeconds"] > seconds(front["startupProbe"])
    assert front["readinessProbe"]["httpGet"]["path"] == front["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert rollout["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_models_have_as_many_threads_as_the_front_has_processors() -> None:
    assert FRONT.container("front")["resources"]["requests"]["cpu"] == settings()["OMP_NUM_THREADS"]


def test_commands_are_those_of_the_image() -> None:
    assert MIGRATION.container("migration")["command"] == ["adapterctl", "migrate"]
    assert FRONT.container("front")["command"] == ["adapterctl", "serve"]
    assert "adapterctl check-config" in FRONT.container("check-config")["command"][-1]


def test_the_ray_form_runs_rays_version_and_our_app() -> None:
    service = read("ray/ray-service.yaml")["spec"]
    config = yaml.safe_load(service["serveConfigV2"])
    (application,) = config["applications"]
    assert (application["import_path"], application["route_prefix"]) == ("service.cluster.app:build", "/")
    # Not imported, because Ray takes seconds and warns.
    source = (ROOT / "service" / "cluster" / "app.py").read_text()
    assert "def build(arguments: ClusterArguments)" in source
    assert [name for name in application["args"] if f"    {name}: " not in source] == []
    head, worker = (pod for pod in pods() if pod.owner == "RayService")
    for pod in (head, worker):
        (container,) = pod.containers
        assert {"name": "serve", "containerPort": config["http_options"]["port"]} in container["ports"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


def test_kuberay_asks_rays_processes_over_http() -> None:
    """From Ray 2.53 on; before that by wget, which the image doesn't have."""
    named = read("ray/ray-service.yaml")["spec"]["rayClusterConfig"]["rayVersion"]
    assert (2, 53) <= tuple(int(part) for part in named.split(".")[:2]) < (3,)


def test_the_image_takes_the_extra_that_brings_ray() -> None:
    assert "ARG EXTRAS=server" in DOCKERFILE
    assert "EXTRAS=${EXTRAS}" in DOCKERFILE
    makefile = (ROOT / "Makefile").read_text()
    assert '-e ".[$(EXTRAS)]"' in makefile
    assert "cluster = [" in (ROOT / "pyproject.toml").read_text()
