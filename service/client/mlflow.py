"""MLflow: log an adapter to a run, and register it from there. Needs the extra `mlflow`.

    log_adapter(peft_model, run_id=run.info.run_id)
    pushed = push_run(client, run.info.run_id, "tone", model="minilm")

The version's metadata says which run it is from, and the run's tags which version came of it.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from mlflow import MlflowClient

from service.client.blocking import Client
from service.client.checkpoints import Checkpoint, opened
from service.client.records import Pushed

ARTIFACT: Final = "adapter"
REFERENCE, DIGEST, MODEL = "adapter_service.reference", "adapter_service.digest", "adapter_service.model"
"""A run's tags."""


def log_adapter(checkpoint: Checkpoint, *, run_id: str, artifact_path: str = ARTIFACT) -> str:
    """Log PEFT's two files as artifacts of a run. The tracking server is MLflow's own setting (MLFLOW_TRACKING_URI).

    Returns:
        The artifacts' address, `runs:/<run_id>/adapter`.

    Raises:
        FileNotFoundError: the directory lacks one of PEFT's two files.
    """
    with opened(checkpoint) as files, TemporaryDirectory(prefix="adapter-") as directory:
        files.save(directory)
        MlflowClient().log_artifacts(run_id, directory, artifact_path)
    return _address(run_id, artifact_path)


def push_run(
    client: Client,
    run_id: str,
    name: str,
    *,
    model: str,
    artifact_path: str = ARTIFACT,
    labels: Mapping[str, str] | None = None,
    reason: str | None = None,
) -> Pushed:
    """Store the adapter that a run logged, as `client.adapters.push` does, and write its reference, digest and base
    model into the run's tags. The version's metadata holds `mlflow_run_id`, `mlflow_run_name` and `mlflow_uri`; a
    version that was there already (`unchanged`) keeps its own.

    Raises:
        MlflowException: there is no such run, or it has no such artifacts.
        FileNotFoundError: they lack one of PEFT's two files.
        Invalid: it doesn't fit the base model; `errors` lists everything.
    """
    tracking = MlflowClient()
    run = tracking.get_run(run_id)
    metadata = {
        "mlflow_run_id": run_id,
        "mlflow_run_name": run.info.run_name or "",
        "mlflow_uri": _address(run_id, artifact_path),
    }
    with TemporaryDirectory(prefix="adapter-") as directory:
        checkpoint = Path(tracking.download_artifacts(run_id, artifact_path, directory))
        pushed = client.adapters.push(name, checkpoint, model=model, metadata=metadata, labels=labels, reason=reason)
    written = {REFERENCE: pushed.version.reference, DIGEST: pushed.version.digest, MODEL: pushed.model}
    for tag, value in written.items():
        tracking.set_tag(run_id, tag, value)
    return pushed


def _address(run_id: str, artifact_path: str) -> str:
    return f"runs:/{run_id}/{artifact_path}"
