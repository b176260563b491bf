"""A vision-language model of a few numbers, with its processor, and pictures for it."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from word_models import WORDS, word_tokenizer

PART: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image> {% else %}{{ part.text }} {% endif %}{% endfor %}{% endfor %}"
)


def save_processor(directory: Path) -> tuple[PreTrainedTokenizerFast, LlavaForConditionalGeneration]:
    """Into `directory`; the tokenizer and the model are for the caller to save."""
    tokenizer = word_tokenizer()
    tokenizer.model_max_length = 64
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    token = len(WORDS)
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config=LlamaConfig(**PART, vocab_size=token + 1, num_key_value_heads=2, initializer_range=0.5).to_dict(),
        vision_config=CLIPVisionConfig(**PART, image_size=8, patch_size=4).to_dict(),
        image_token_index=token,
        vision_feature_layer=-1,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}),
        tokenizer=tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    processor.save_pretrained(directory)
    return tokenizer, LlavaForConditionalGeneration(config)


def picture(*color: int, kind: str = "png") -> str:
    content = BytesIO()
    Image.new("RGB", (10, 12), color).save(content, kind)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
