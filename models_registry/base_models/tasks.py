"""Which class builds a model for a task, and which task a class was made for."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import transformers
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.models.auto import modeling_auto as auto

from models_registry.errors import Invalid
from models_registry.records import Fault
from models_registry.task_names import (
    FEATURE_EXTRACTION,
    IMAGE_TEXT_TO_TEXT,
    SPEECH_RECOGNITION,
    TEXT_CLASSIFICATION,
    TEXT_GENERATION,
    TEXT_TO_TEXT,
)

# Auto classes share no public base class, and `from_pretrained` is untyped in all of them.
Builder: TypeAlias = Any

# In the order in which an architecture's task is looked up: a few classes are listed under several.
BUILDERS: Mapping[str, tuple[Builder, Mapping[Any, Any]]] = {
    TEXT_GENERATION: (AutoModelForCausalLM, auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
    TEXT_CLASSIFICATION: (AutoModelForSequenceClassification, auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
    "token-classification": (AutoModelForTokenClassification, auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES),
    "question-answering": (AutoModelForQuestionAnswering, auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES),
    TEXT_TO_TEXT: (AutoModelForSeq2SeqLM, auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
    "fill-mask": (AutoModelForMaskedLM, auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
    "image-classification": (AutoModelForImageClassification, auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES),
    "audio-classification": (AutoModelForAudioClassification, auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES),
    SPEECH_RECOGNITION: (AutoModelForSpeechSeq2Seq, auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
    IMAGE_TEXT_TO_TEXT: (AutoModelForImageTextToText, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    FEATURE_EXTRACTION: (AutoModel, auto.MODEL_MAPPING_NAMES),
}


def task_of(architecture: str) -> str | None:
    """The task a class was made for; None where it has no pipeline tag among ours (a pre-training head, say)."""
    if architecture in auto.MODEL_FOR_CTC_MAPPING_NAMES.values():
        return SPEECH_RECOGNITION
    for task, (_, classes) in BUILDERS.items():
        if any(architecture in ((name,) if isinstance(name, str) else name) for name in classes.values()):
            return task
    return None


def builder_for(task: str | None, architectures: list[str] | None) -> Builder:
    """The class whose `from_pretrained` builds the model. A task that is the architecture's own keeps the architecture.

    Raises `Invalid` where there is neither a task nor an architecture that transformers itself ships.
    """
    name = architectures[0] if architectures else None
    own = getattr(transformers, name, None) if name else None
    is_model = isinstance(own, type) and issubclass(own, PreTrainedModel)
    if is_model and name is not None and task in (None, task_of(name)):
        return own
    if task is None:
        message = (
            f"config.json names no architecture that transformers ships (it says {name!r}); say which task to use."
        )
        raise Invalid(message, [Fault(("task",), message)])
    return BUILDERS[task][0]
