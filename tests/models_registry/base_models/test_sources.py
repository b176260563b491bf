"""What a source's names and files alone show; and that opening one checks the same."""

import shutil
import sys
from pathlib import Path

import pytest

from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy, check_source
from models_registry.base_models.tasks import BUILDERS
from models_registry.errors import Invalid, Unsupported
from models_registry.records import HuggingFaceSource, Location, PythonSource, Source
from models_registry.task_names import TASKS


def refused(
    source: Source, policy: SourcePolicy, task: str | None = None, num_labels: int | None = None
) -> list[Location]:
    with pytest.raises(Invalid) as caught:
        check_source(source, task, policy, num_labels)
    assert caught.value.faults
    return [fault.loc for fault in caught.value.faults]


def test_a_directory_below_a_root_opens_by_its_absolute_or_its_relative_path(root: Path, llama: Path) -> None:
    policy = SourcePolicy((root,), ())
    assert open_spec(HuggingFaceSource(str(llama)), None, policy).task == "text-generation"
    assert open_spec(HuggingFaceSource("llama"), None, policy).task == "text-generation"


def test_a_relative_path_is_taken_below_the_first_root_that_has_it(root: Path, llama: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert open_spec(HuggingFaceSource(llama.name), None, SourcePolicy((empty, root), ())).task


@pytest.mark.parametrize("path", ["..", "../outside", "/", "/etc", "llama/../../outside", "nul\0byte", "x" * 5000])
def test_a_path_outside_the_roots_is_refused(root: Path, llama: Path, path: str) -> None:
    shutil.copytree(llama, root.parent / "outside")
    assert refused(HuggingFaceSource(path), SourcePolicy((root,), ())) == [("source", "path")]


def test_a_link_that_leads_out_of_the_root_is_refused(root: Path, llama: Path) -> None:
    outside = root.parent / "outside"
    llama.rename(outside)
    (root / "link").symlink_to(outside)
    assert refused(HuggingFaceSource("link"), SourcePolicy((root,), ())) == [("source", "path")]


def test_a_file_that_is_a_link_out_of_the_root_is_refused(root: Path, llama: Path) -> None:
    weights = llama / "model.safetensors"
    weights.rename(root.parent / "weights")
    weights.symlink_to(root.parent / "weights")
    with pytest.raises(Invalid, match=r"model\.safetensors"):
        check_source(HuggingFaceSource("llama"), None, SourcePolicy((root,), ()))


def test_a_file_may_be_a_link_within_the_root(root: Path, llama: Path) -> None:
    weights = llama / "model.safetensors"
    weights.rename(root / "blob")
    weights.symlink_to("../blob")
    assert open_spec(HuggingFaceSource("llama"), None, SourcePolicy((root,), ())).task


def test_a_root_may_itself_be_a_link(root: Path, llama: Path) -> None:
    link = root.parent / "models"
    link.symlink_to(root)
    assert open_spec(HuggingFaceSource(str(link / llama.name)), None, SourcePolicy((link,), ())).task


def test_a_directory_that_is_not_there_is_refused(root: Path) -> None:
    assert refused(HuggingFaceSource("nowhere"), SourcePolicy((root,), ())) == [("source", "path")]


def test_a_directory_without_weights_is_refused_and_says_what_it_needs(root: Path, llama: Path) -> None:
    (llama / "model.safetensors").unlink()
    with pytest.raises(Invalid, match=r"has no weights: it needs a \.safetensors file\."):
        check_source(HuggingFaceSource("llama"), None, SourcePolicy((root,), ()))


def test_a_directory_with_pickled_weights_only_is_refused_and_they_are_named(root: Path, llama: Path) -> None:
    (llama / "model.safetensors").rename(llama / "pytorch_model.bin")
    with pytest.raises(Invalid, match=r"pytorch_model\.bin"):
        check_source(HuggingFaceSource("llama"), None, SourcePolicy((root,), ()))


def test_an_adapter_is_not_a_base_model(root: Path, llama: Path) -> None:
    (llama / "adapter_config.json").write_text("{}")
    with pytest.raises(Invalid, match="adapter"):
        check_source(HuggingFaceSource("llama"), None, SourcePolicy((root,), ()))


@pytest.mark.parametrize("file", ["missing.gguf", "../outside.gguf", "config.json", "x" * 5000])
def test_a_file_that_is_no_gguf_of_the_directory_is_refused(root: Path, llama: Path, file: str) -> None:
    (root / "outside.gguf").write_bytes(b"GGUF")
    assert refused(HuggingFaceSource("llama", file), SourcePolicy((root,), ())) == [("source", "file")]


def test_an_unknown_task_is_refused(root: Path, llama: Path) -> None:
    assert refused(HuggingFaceSource("llama"), SourcePolicy((root,), ()), task="mind-reading") == [("task",)]


def test_each_task_that_is_known_by_name_can_be_built() -> None:
    assert tuple(BUILDERS) == TASKS


def test_num_labels_are_for_classifiers_built_from_files(root: Path, llama: Path) -> None:
    policy = SourcePolicy((root,), ("torch.nn:*",))
    assert refused(PythonSource("torch.nn:Linear"), policy, num_labels=3) == [("num_labels",)]
    assert refused(HuggingFaceSource("llama"), policy, "text-generation", 3) == [("num_labels",)]
    check_source(HuggingFaceSource("llama"), "text-classification", policy, 3)


def test_a_gguf_file_writes_text_where_no_task_is_named(root: Path, llama: Path) -> None:
    (llama / "tiny.gguf").write_bytes(b"GGUF")
    source, policy = HuggingFaceSource("llama", "tiny.gguf"), SourcePolicy((root,), ())
    check_source(source, None, policy)
    assert refused(source, policy, num_labels=3) == [("num_labels",)]


@pytest.mark.parametrize("config", ["{", "[]", "\udcff"])
def test_a_config_that_is_no_json_object_is_refused(root: Path, llama: Path, config: str) -> None:
    (llama / "config.json").write_text(config, errors="surrogateescape")
    assert refused(HuggingFaceSource("llama"), SourcePolicy((root,), ())) == [("source", "path")]


def test_quantised_weights_are_refused_by_their_config(root: Path, llama: Path) -> None:
    (llama / "config.json").write_text('{"quantization_config": {"quant_method": "bitsandbytes"}}')
    with pytest.raises(Unsupported, match="quantised"):
        check_source(HuggingFaceSource("llama"), None, SourcePolicy((root,), ()))


def test_checking_a_factory_imports_nothing() -> None:
    sys.modules.pop("this", None)
    check_source(PythonSource("this:s"), None, SourcePolicy((), ("this:*",)))
    assert refused(PythonSource("this:s.upper"), SourcePolicy((), ("this:*",))) == [("source", "factory")]
    assert refused(PythonSource("this:s"), SourcePolicy((), ("that:*",))) == [("source", "factory")]
    assert "this" not in sys.modules
