"""Hugging Face's layout, both ways: a repository of a hub cache is pushed, and what is pulled has a model card."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bases import mlp
from huggingface_hub import ModelCard
from peft import PeftModel
from trained_adapters import of_peft, trained

from service.client import Client

COMMIT, OLDER = "a" * 40, "b" * 40
CARD = "---\nlicense: mit\nbase_model: {base}\ntags:\n- lora\n---\n# base_model: not this one\n"


def cached(cache: Path, base: str = "org/base", name: str = "models--org--tone", commit: str = COMMIT) -> Path:
    """A repository as the hub's client keeps it: a snapshot of links to blobs."""
    repository = cache / name
    trained(repository / "saved", 1)
    snapshot, blobs = repository / "snapshots" / commit, repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (repository / "saved" / "README.md").write_text(CARD.format(base=base))
    for file in (repository / "saved").iterdir():
        shutil.move(file, blobs / f"blob-of-{file.name}")
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", f"blob-of-{file.name}"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return repository


def words_of(card: ModelCard) -> dict[str, Any]:
    return card.data.to_dict()


def test_a_repository_of_a_hub_cache_is_pushed_with_where_it_is_from(client: Client, tmp_path: Path) -> None:
    repository = cached(tmp_path)
    (repository / "snapshots" / OLDER).mkdir()
    pushed = client.adapters.push("hub", repository, model="mlp", metadata={"run": 7})
    assert pushed.version.reference == "hub@1"
    assert client.adapters.get("hub").newest.metadata == {
        "hub_repository": "org/tone",
        "hub_revision": COMMIT,
        "base_model": "org/base",
        "run": 7,
    }
    assert client.adapters.push("hub", repository / "snapshots" / COMMIT, model="mlp").unchanged


@pytest.mark.parametrize(
    ("base", "read"),
    [
        ('"org/quoted"', "org/quoted"),
        ("\n- org/listed\n- org/second", "org/listed"),
        ("[org/inline, org/second]", "org/inline"),
        ("", None),
    ],
)
def test_a_cards_base_model_is_a_text_or_a_list(client: Client, tmp_path: Path, base: str, read: str | None) -> None:
    name = f"hub-{len(base)}"
    client.adapters.push(name, cached(tmp_path, base, "models--alone"), model="mlp")
    metadata = client.adapters.get(name).newest.metadata
    assert (metadata["hub_repository"], metadata.get("base_model")) == ("alone", read)


def test_the_only_snapshot_needs_no_name_and_of_several_one_has_to(client: Client, tmp_path: Path) -> None:
    repository = cached(tmp_path)
    (repository / "refs" / "main").write_text("../../elsewhere")
    assert client.adapters.check("sole", repository, model="mlp").version.reference == "sole@1"
    (repository / "snapshots" / OLDER).mkdir()
    with pytest.raises(FileNotFoundError, match=f"{COMMIT}, {OLDER}"):
        client.adapters.check("sole", repository, model="mlp")


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors", "README.md"])
def test_a_link_that_leads_out_of_the_repository_is_not_read(client: Client, tmp_path: Path, file: str) -> None:
    repository = cached(tmp_path / "cache")
    link = repository / "snapshots" / COMMIT / file
    secret = tmp_path / "secret"
    shutil.copyfile(link, secret)
    link.unlink()
    link.symlink_to(secret)
    with pytest.raises(FileNotFoundError, match="leads out of"):
        client.adapters.push("secret", repository, model="mlp")


def test_a_blob_that_is_gone_is_a_missing_file(client: Client, tmp_path: Path) -> None:
    repository = cached(tmp_path)
    (repository / "blobs" / "blob-of-adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no adapter_model\.safetensors"):
        client.adapters.push("gone", repository, model="mlp")


def test_what_is_pulled_has_a_model_card_and_is_loaded_by_peft(client: Client, tmp_path: Path) -> None:
    model = trained(tmp_path / "saved", 4)
    client.adapters.push("carded", tmp_path / "saved", model="mlp")
    client.adapters.promote("carded", 1, alias="prod")
    for reference in ("carded@prod", "carded@1", "carded@latest"):
        directory = client.adapters.pull(reference, tmp_path / "pulled")
        card = ModelCard.load(directory / "README.md")
        assert words_of(card) == {"base_model": "mlp", "library_name": "peft", "tags": ["lora"]}
        assert "`carded@1` on the base model `mlp`" in card.text
        assert client.adapters.get("carded").newest.digest in card.text
    again = PeftModel.from_pretrained(mlp(), str(directory)).eval()
    np.testing.assert_array_equal(of_peft(again), of_peft(model))


def test_a_card_names_the_base_model_of_the_card_it_came_with(client: Client, tmp_path: Path) -> None:
    client.adapters.push("based", cached(tmp_path), model="mlp")
    directory = client.adapters.pull("based", tmp_path / "pulled")
    assert words_of(ModelCard.load(directory / "README.md"))["base_model"] == "org/base"
    metadata = {"base_model": 'org/"odd": base'}
    client.adapters.push("based-oddly", tmp_path / "models--org--tone", model="mlp", metadata=metadata)
    client.adapters.pull("based-oddly", directory)
    assert words_of(ModelCard.load(directory / "README.md"))["base_model"] == metadata["base_model"]


def test_somebody_elses_card_is_left_alone(client: Client, tmp_path: Path) -> None:
    trained(tmp_path / "saved", 5)
    client.adapters.push("uncarded", tmp_path / "saved", model="mlp")
    (tmp_path / "pulled").mkdir()
    (tmp_path / "pulled" / "README.md").write_text("Mine.")
    client.adapters.pull("uncarded", tmp_path / "pulled")
    assert (tmp_path / "pulled" / "README.md").read_text() == "Mine."
