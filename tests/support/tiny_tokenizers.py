"""One small tokenizer of each kind that reads tokens in a way of its own."""

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "<end>"
WORDS = 'the sea is salty {"a": 1, "b": [true, null]} it\'s a day. \'quoted\' naïve 你好 é😀'


def _fast(tokenizer: Tokenizer, **options: Any) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, **options)


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2's: each token is a string of bytes."""
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS], trainer)
    return _fast(tokenizer)


def byte_fallback() -> PreTrainedTokenizerFast:
    """As Llama 2's: pieces with a sign for the space, and a token for each byte of what is no piece."""
    pieces = [
        END,
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "▁the",
        "▁sea",
        "s",
        "a",
        "▁a",
        ".",
        "'",
        "é",
        "▁▁",
    ]
    tokenizer: Any = Tokenizer(models.BPE({piece: id for id, piece in enumerate(pieces)}, [], byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _fast(tokenizer)


def word_piece() -> PreTrainedTokenizerFast:
    """As BERT's: words and their further parts, and spaces that go before some signs."""
    pieces = [END, "[UNK]", "the", "a", "n", "##a", "##s", ".", ",", "'", "n't", "'s", "s", "t", "do", "!", "##n't"]
    tokenizer: Any = Tokenizer(models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return _fast(tokenizer, unk_token="[UNK]", clean_up_tokenization_spaces=True)
