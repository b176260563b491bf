"""Hugging Face's pipeline tags that a base model may have. Which class builds a model for one, base_models knows."""

from typing import Final

TEXT_GENERATION: Final = "text-generation"
TEXT_CLASSIFICATION: Final = "text-classification"
TEXT_TO_TEXT: Final = "text2text-generation"
IMAGE_TEXT_TO_TEXT: Final = "image-text-to-text"
SPEECH_RECOGNITION: Final = "automatic-speech-recognition"
FEATURE_EXTRACTION: Final = "feature-extraction"

TASKS: Final = (
    TEXT_GENERATION,
    TEXT_CLASSIFICATION,
    "token-classification",
    "question-answering",
    TEXT_TO_TEXT,
    "fill-mask",
    "image-classification",
    "audio-classification",
    SPEECH_RECOGNITION,
    IMAGE_TEXT_TO_TEXT,
    FEATURE_EXTRACTION,
)
"""In the order in which they are listed to callers."""

WRITING_TASKS: Final = frozenset({TEXT_GENERATION, TEXT_TO_TEXT, SPEECH_RECOGNITION, IMAGE_TEXT_TO_TEXT})

# What adapters are trained for on a base without a head: PEFT saves the head that they then bring.
TASKS_WITH_LABELS: Final = frozenset(
    {TEXT_CLASSIFICATION, "token-classification", "image-classification", "audio-classification"}
)
