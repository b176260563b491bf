"""An adapter from training to serving by way of an MLflow run, kept in a local store."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from trained_adapters import ROWS, of_peft, trained

from service.client import Client
from service.client.mlflow import log_adapter, push_run


@pytest.fixture
def run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/store")
    tracking = MlflowClient()
    experiment = tracking.create_experiment("tones")
    return tracking.create_run(experiment, run_name="warm").info.run_id


def test_what_a_run_logged_is_registered_and_each_names_the_other(client: Client, run_id: str, tmp_path: Path) -> None:
    model = trained(tmp_path / "saved", 6)
    address = log_adapter(tmp_path / "saved", run_id=run_id)
    assert address == f"runs:/{run_id}/adapter"
    pushed = push_run(client, run_id, "logged", model="mlp", labels={"stage": "new"}, reason="the warm one")
    assert pushed.version.reference == "logged@1"
    stored = client.adapters.get("logged")
    assert stored.newest.metadata == {"mlflow_run_id": run_id, "mlflow_run_name": "warm", "mlflow_uri": address}
    assert stored.raw["labels"] == {"stage": "new"}
    tags = MlflowClient().get_run(run_id).data.tags
    assert tags["adapter_service.reference"] == "logged@1"
    assert tags["adapter_service.digest"] == stored.newest.digest
    assert tags["adapter_service.model"] == "mlp"
    answer = client.infer("mlp", {"x": ROWS}, adapter="logged@1")
    np.testing.assert_allclose(answer.outputs["output"], of_peft(model), rtol=1e-5, atol=1e-5)


def test_a_model_and_several_adapters_of_a_run_have_paths_of_their_own(
    client: Client, run_id: str, tmp_path: Path
) -> None:
    for number in (1, 2):
        log_adapter(trained(tmp_path / str(number), number), run_id=run_id, artifact_path=f"epoch-{number}")
        pushed = push_run(client, run_id, "epochs", model="mlp", artifact_path=f"epoch-{number}")
        assert pushed.version.version == number
    again = push_run(client, run_id, "epochs", model="mlp", artifact_path="epoch-2")
    assert (again.unchanged, again.version.reference) == (True, "epochs@2")


def test_a_run_without_an_adapter_and_no_run_say_so(client: Client, run_id: str, tmp_path: Path) -> None:
    with pytest.raises((MlflowException, OSError), match="adapter"):
        push_run(client, run_id, "never", model="mlp")
    (tmp_path / "adapter_config.json").write_text(json.dumps({}))
    MlflowClient().log_artifact(run_id, str(tmp_path / "adapter_config.json"), "adapter")
    with pytest.raises(FileNotFoundError, match=r"adapter_model\.safetensors"):
        push_run(client, run_id, "never", model="mlp")
    with pytest.raises(MlflowException, match="f" * 32):
        push_run(client, "f" * 32, "never", model="mlp")
