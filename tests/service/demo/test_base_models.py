from pathlib import Path

from service.demo.base_models import prepare_base_models


def test_an_interrupted_model_is_made_again_and_a_finished_one_is_kept(tmp_path: Path) -> None:
    finished = tmp_path / "smollm2"
    finished.mkdir()
    (finished / "mine").touch()
    interrupted = tmp_path / ".minilm.partial"
    interrupted.mkdir()
    (interrupted / "half a file").touch()

    prepare_base_models(tmp_path)

    assert [entry.name for entry in finished.iterdir()] == ["mine"]
    assert (tmp_path / "minilm" / "model.safetensors").is_file()
    assert not (tmp_path / "minilm" / "half a file").exists()
    assert not interrupted.exists()
