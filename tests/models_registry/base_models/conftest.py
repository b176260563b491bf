from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from models_registry.base_models.huggingface import HuggingFaceSpec
from models_registry.base_models.sources import SourcePolicy, open_spec
from models_registry.records import HuggingFaceSource

WORDS = ("[PAD]", "[UNK]", "[EOS]", *"abcdefghijklmnopqrstuvwxyz", "user:", "bot:")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue] - a setter without a stub
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]", model_max_length=32
    )


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        bos_token_id=None,
        eos_token_id=2,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config)


def bert_config() -> BertConfig:
    torch.manual_seed(0)
    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        id2label={0: "sad", 1: "glad", 2: "calm"},
        initializer_range=0.5,
    )


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, directory: Path) -> Path:
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


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
