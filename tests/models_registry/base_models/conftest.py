from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import BertForSequenceClassification, BertModel, PreTrainedTokenizerFast
from word_models import bert_config, save, tiny_llama, word_tokenizer

from models_registry.base_models.huggingface import HuggingFaceSpec
from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.records import HuggingFaceSource


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A model root with something beside it that nobody may reach."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def llama(root: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    return save(tiny_llama(), tokenizer, root / "llama")


@pytest.fixture
def bert(root: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    return save(BertModel(bert_config()), tokenizer, root / "bert")


@pytest.fixture
def classifier(root: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    return save(BertForSequenceClassification(bert_config()), tokenizer, root / "classifier")


@pytest.fixture
def opened(root: Path) -> Callable[..., HuggingFaceSpec]:
    def open_directory(path: Path, task: str | None = None, file: str | None = None) -> HuggingFaceSpec:
        spec = open_spec(HuggingFaceSource(str(path), file), task, SourcePolicy((root,), ()))
        assert isinstance(spec, HuggingFaceSpec)
        return spec

    return open_directory
