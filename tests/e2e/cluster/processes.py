"""The processes of a cluster on this machine, by what they do."""

import psutil
from e2e.cluster.clusters import Cluster
from e2e.process import until

CONTROLLER, PROXY = "ray::ServeController", "ray::ProxyActor"
FRONT, DEPLOYER = "ray::ServeReplica:adapter-service:front", "ray::ServeReplica:adapter-service:deployer"


def replica_of(model: str) -> str:
    return f"ray::ServeReplica:model_{model}_"


def processes(cluster: Cluster, title: str) -> tuple[psutil.Process, ...]:
    """Those that run and whose title begins so."""
    return tuple(one for one in psutil.Process(cluster.pid).children(recursive=True) if _title(one).startswith(title))


def parent_replica(cluster: Cluster, model: str, pid: int) -> psutil.Process:
    """The actor that holds the host with this number."""
    parents = {parent.pid for parent in psutil.Process(pid).parents()}
    (replica,) = [one for one in processes(cluster, replica_of(model)) if one.pid in parents]
    return replica


def hosts(cluster: Cluster, model: str) -> tuple[psutil.Process, ...]:
    """The children that hold a model's modules: each replica's fork server has one."""
    servers = [server for replica in processes(cluster, replica_of(model)) for server in replica.children()]
    return tuple(host for server in servers for host in server.children())


def wait_for_others(cluster: Cluster, title: str, count: int, *gone: psutil.Process) -> None:
    """Returns once so many run that none of `gone` is."""

    def are_there() -> bool:
        now = processes(cluster, title)
        return len(now) == count and not set(now) & set(gone)

    until(are_there)


def _title(process: psutil.Process) -> str:
    try:
        return process.cmdline()[0] if process.status() != psutil.STATUS_ZOMBIE else ""
    except (psutil.NoSuchProcess, psutil.ZombieProcess, IndexError):
        return ""


def ray_address(pid: int) -> str:
    """Of the Ray that this process has started, however many there are on the machine."""
    (raylet,) = [one for one in psutil.Process(pid).children() if one.name() == "raylet"]
    return next(word for word in raylet.cmdline() if word.startswith("--gcs-address=")).partition("=")[2]
