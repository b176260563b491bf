"""What adapters carry besides their low-rank parts, as raw configs, on models that hold every layer kind."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from parity.architectures import architecture, token_ids
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

VOCABULARY = 10


class EveryKind(nn.Module):
    """Token ids `[rows, 5]` in, three numbers per token out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.linear = nn.Linear(8, 8)
        self.plain = nn.Linear(8, 8, bias=False)
        self.conv1d = Conv1D(8, 8)
        self.norm = nn.LayerNorm(8)
        self.conv1 = nn.Conv1d(8, 8, 3, padding=1)
        self.batch_norm = nn.BatchNorm1d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.conv2 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.conv3 = nn.Conv3d(1, 2, 3, padding=1)
        self.grouped = nn.Conv1d(8, 8, 3, padding=1, groups=4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 5))
        self.classifier = nn.Linear(5, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.conv1d(self.plain(self.linear(self.embedding(ids)))))  # [n, 5, 8]
        x = self.batch_norm(self.conv1(x.transpose(1, 2)))
        x = self.grouped(x).transpose(1, 2)
        x = x + self.attention(x, x, x)[0]
        x = x + self.conv2(x[:, None]).mean(1) + self.conv3(x[:, None, None]).mean((1, 2))
        return self.classifier(self.head(self.drop(x)))


def every_kind() -> nn.Module:
    torch.manual_seed(3)
    model = EveryKind()
    for part in model.modules():  # the running mean and the biases of norms begin at zero, where nothing shows
        if isinstance(part, nn.LayerNorm | nn.BatchNorm1d):
            for tensor in part.state_dict().values():
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5)
    return model.double().eval()


def every_kind_inputs() -> dict[str, Tensor]:
    return {"ids": torch.randint(VOCABULARY, (4, 5), generator=torch.Generator().manual_seed(2))}


def tied_llama() -> PreTrainedModel:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).double().eval()


def untied_llama() -> PreTrainedModel:
    return copy.deepcopy(architecture("llama"))


def bert_classifier() -> PreTrainedModel:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        initializer_range=0.2,
    )
    config.num_labels = 3
    return BertForSequenceClassification(config).double().eval()


def llama_inputs() -> dict[str, Tensor]:
    return {"input_ids": token_ids("llama")["input_ids"] % 30}


@dataclass(frozen=True)
class Case:
    raw: Mapping[str, Any]
    build: Callable[[], nn.Module] = every_kind
    inputs: Callable[[], dict[str, Tensor]] = every_kind_inputs


LORA: Mapping[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": ["linear"]}
DORA: Mapping[str, Any] = {**LORA, "use_dora": True}
ADALORA: Mapping[str, Any] = {
    "peft_type": "ADALORA",
    "init_r": 3,
    "target_r": 2,
    "lora_alpha": 4,
    "total_step": 10,
    "target_modules": ["linear", "conv2"],
}
IA3: Mapping[str, Any] = {"peft_type": "IA3", "target_modules": ["linear", "conv2"], "feedforward_modules": ["linear"]}
LAYERS = ("linear", "plain", "conv1d", "embedding", "conv1", "conv2", "conv3")
SAVED: Mapping[str, list[str]] = {
    "linear": ["classifier"],
    "embedding": ["embedding"],
    "layer norm": ["norm"],
    "batch norm": ["batch_norm"],
    "convolution": ["conv1"],
    "grouped convolution and attention": ["grouped", "attention"],
    "sequential": ["head"],
    "part of a sequential": ["head.2"],
    "several": ["classifier", "norm", "batch_norm", "conv3"],
}
Q_PROJ: Mapping[str, Any] = {**LORA, "target_modules": ["q_proj"]}


def _llama(raw: Mapping[str, Any], build: Callable[[], nn.Module] = tied_llama) -> Case:
    return Case(raw, build, llama_inputs)


CASES: Mapping[str, Case] = {
    # DoRA
    **{f"dora {layer}": Case({**DORA, "target_modules": [layer]}) for layer in (*LAYERS, "grouped")},
    "dora everywhere": Case({**DORA, "target_modules": [*LAYERS, "head.0"]}),
    "dora with dropout": Case({**DORA, "target_modules": list(LAYERS), "lora_dropout": 0.5}),
    "dora rank-stabilised": Case({**DORA, "target_modules": list(LAYERS), "use_rslora": True}),
    "dora with patterns": Case(
        {**DORA, "target_modules": list(LAYERS), "rank_pattern": {"conv.": 2}, "alpha_pattern": {"linear": 9}}
    ),
    "dora with all biases": Case({**DORA, "bias": "all"}),
    "dora with its biases": Case({**DORA, "target_modules": list(LAYERS), "bias": "lora_only"}),
    "dora beside a saved module": Case({**DORA, "modules_to_save": ["classifier"]}),
    "dora on an embedding and its head": _llama({**DORA, "target_modules": ["q_proj", "lm_head"]}, untied_llama),
    # biases
    **{
        f"lora_bias {layer}": Case({**LORA, "target_modules": [layer], "lora_bias": True})
        for layer in ("linear", "conv1d", "conv1", "conv3", "grouped")
    },
    "lora_bias beside all biases": Case({**LORA, "lora_bias": True, "bias": "all"}),
    "biases of targets": Case({**LORA, "target_modules": ["linear", "conv1d", "conv1", "plain"], "bias": "lora_only"}),
    "biases of attention alone": Case({**LORA, "target_modules": ["attention"], "bias": "lora_only"}),
    "all biases": Case({**LORA, "bias": "all"}),
    "all biases, attention a target": Case({**LORA, "target_modules": ["attention", "linear"], "bias": "all"}),
    "all biases beside a saved module": Case({**LORA, "bias": "all", "modules_to_save": ["classifier", "norm"]}),
    "all biases of bert": Case({**LORA, "target_modules": ["query"], "bias": "all"}, bert_classifier, llama_inputs),
    "adalora with all biases": Case({**ADALORA, "bias": "all"}),
    "adalora with its biases": Case({**ADALORA, "bias": "lora_only"}),
    # saved modules
    **{f"lora saves {name}": Case({**LORA, "modules_to_save": saved}) for name, saved in SAVED.items()},
    **{f"adalora saves {name}": Case({**ADALORA, "modules_to_save": saved}) for name, saved in SAVED.items()},
    **{f"ia3 saves {name}": Case({**IA3, "modules_to_save": saved}) for name, saved in SAVED.items()},
    "what is saved is no target too": Case(
        {**LORA, "target_modules": ["linear", "classifier"], "modules_to_save": ["classifier"]}
    ),
    "a classifier saves its head": Case(
        {**LORA, "target_modules": ["query"], "task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"]},
        bert_classifier,
        llama_inputs,
    ),
    "a saved head of a tied model": _llama({**Q_PROJ, "modules_to_save": ["lm_head"]}),
    "a saved layer of mlps": _llama({**Q_PROJ, "modules_to_save": ["layers.1.mlp", "norm"]}, untied_llama),
    "a saved layer": _llama({**Q_PROJ, "modules_to_save": ["layers.1.mlp", "layers.2.input_layernorm"]}),
    "a saved pooler": Case(
        {**LORA, "target_modules": ["query"], "modules_to_save": ["pooler", "layer.1.output"]},
        bert_classifier,
        llama_inputs,
    ),
    # token rows
    "tokens": Case({**LORA, "trainable_token_indices": {"embedding": [1, 5, 3]}}),
    "tokens in any order beside all biases": Case(
        {**LORA, "trainable_token_indices": {"embedding": [9, 0]}, "bias": "all"}
    ),
    "tied tokens as a list": _llama({**Q_PROJ, "trainable_token_indices": [7, 2, 1, 3]}),
    "tied tokens by name": _llama({**Q_PROJ, "trainable_token_indices": {"embed_tokens": [7, 2, 1]}}),
    "untied tokens": _llama({**Q_PROJ, "trainable_token_indices": [7, 2, 1, 3, 4, 5, 6, 9, 12, 15]}, untied_llama),
    "tokens of an untied head": _llama({**Q_PROJ, "trainable_token_indices": {"lm_head": [5, 7]}}, untied_llama),
    "tokens of both ends, untied": _llama(
        {**Q_PROJ, "trainable_token_indices": {"embed_tokens": [5, 7], "lm_head": [7, 2, 9]}}, untied_llama
    ),
    "tokens of both ends, tied": _llama(
        {**Q_PROJ, "trainable_token_indices": {"embed_tokens": [7, 2], "lm_head": [7, 2]}}
    ),
    "different tokens of both ends, tied": _llama(
        {**Q_PROJ, "trainable_token_indices": {"embed_tokens": [7, 2], "lm_head": [1, 3]}}
    ),
    "tokens of a tied head alone": _llama({**Q_PROJ, "trainable_token_indices": {"lm_head": [1, 7]}}),
    "rows of a linear layer with a bias": Case({**LORA, "trainable_token_indices": {"classifier": [2, 0]}}),
    "rows of a linear layer beside those of an embedding": Case(
        {**LORA, "trainable_token_indices": {"plain": [5, 1], "embedding": [3]}, "bias": "lora_only"}
    ),
    "tokens by the end of a name": Case({**LORA, "trainable_token_indices": {"bedding": [4, 1]}}),
    "adalora with rows of two layers": Case(
        {**ADALORA, "trainable_token_indices": {"embedding": [5, 7], "plain": [7]}}
    ),
    "tokens beside dora": _llama({**Q_PROJ, "use_dora": True, "trainable_token_indices": [7, 2, 1, 3, 9, 12]}),
    # attention
    "attention": Case({**LORA, "target_modules": ["attention"]}),
    "attention rank-stabilised": Case({**LORA, "target_modules": ["attention"], "use_rslora": True}),
    "attention with dropout": Case({**LORA, "target_modules": ["attention", "linear"], "lora_dropout": 0.5}),
    "attention with a saved head": Case({**LORA, "target_modules": ["attention"], "modules_to_save": ["head"]}),
    # embeddings
    "tied embedding": _llama({**LORA, "target_modules": ["embed_tokens", "q_proj"]}),
    "tied head": _llama({**LORA, "target_modules": ["lm_head", "q_proj"]}),
    "both ends, tied": _llama({**LORA, "target_modules": ["lm_head", "embed_tokens"]}),
    "both ends with dora, tied": _llama({**DORA, "target_modules": ["lm_head", "embed_tokens"]}),
    # what chooses and orients
    "fan_in_fan_out": Case({**LORA, "target_modules": ["conv1d"], "fan_in_fan_out": True}),
    "fan_in_fan_out with dora": Case({**DORA, "target_modules": ["conv1d"], "fan_in_fan_out": True}),
    "layers with dora": _llama({**DORA, "target_modules": ["q_proj", "up_proj"], "layers_to_transform": [0, 2]}),
    "layers with their biases": _llama(
        {**LORA, "target_modules": ["q_proj"], "layers_to_transform": [1], "lora_bias": True}, untied_llama
    ),
}
