"""Tiny transformers models with random weights: every family names its modules in its own way.

In float64, so that what differs is not rounding that grew through the layers.
"""

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

VOCABULARY = 40

LLAMA = LlamaConfig(
    vocab_size=VOCABULARY,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    pad_token_id=0,
)
GPT2 = GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=2, n_head=2, pad_token_id=0)
BERT = BertConfig(
    vocab_size=VOCABULARY,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    initializer_range=0.2,
)
ROBERTA = RobertaConfig(
    vocab_size=VOCABULARY,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    initializer_range=0.2,
)
DISTILBERT = DistilBertConfig(
    vocab_size=VOCABULARY, dim=16, n_layers=2, n_heads=2, hidden_dim=24, initializer_range=0.2
)
T5 = T5Config(vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
BART = BartConfig(
    vocab_size=VOCABULARY,
    d_model=16,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=24,
    decoder_ffn_dim=24,
    scale_embedding=True,
)
OPT = OPTConfig(
    vocab_size=VOCABULARY,
    hidden_size=16,
    num_hidden_layers=2,
    ffn_dim=24,
    num_attention_heads=2,
    word_embed_proj_dim=16,
    max_position_embeddings=32,
)
BUILDERS: Mapping[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LLAMA),
    "llama classifier": lambda: LlamaForSequenceClassification(LLAMA),
    "gpt2": lambda: GPT2LMHeadModel(GPT2),
    "gpt2 classifier": lambda: GPT2ForSequenceClassification(GPT2),
    "bert": lambda: BertModel(BERT),
    "bert classifier": lambda: BertForSequenceClassification(BERT),
    "roberta classifier": lambda: RobertaForSequenceClassification(ROBERTA),
    "distilbert classifier": lambda: DistilBertForSequenceClassification(DISTILBERT),
    "t5": lambda: T5ForConditionalGeneration(T5),
    "bart": lambda: BartForConditionalGeneration(BART),
    "opt": lambda: OPTForCausalLM(OPT),
}


@functools.cache
def architecture(name: str) -> PreTrainedModel:
    """Built once; copy it before changing it."""
    torch.manual_seed(0)
    return BUILDERS[name]().double().eval()


def token_ids(name: str) -> dict[str, Tensor]:
    ids = torch.randint(3, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(2))
    return {"input_ids": ids, "decoder_input_ids": ids[:, :4]} if name in ("t5", "bart") else {"input_ids": ids}
