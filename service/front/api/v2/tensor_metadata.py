"""What is known of a base model's inputs and outputs, in the protocol's words: from its example inputs, its
architecture and its task."""

from pydantic import BaseModel, Field

from models_registry.dtypes import dtype_name
from models_registry.inputs.json_inputs import decode_inputs
from models_registry.inputs.values import Inputs
from models_registry.records import Architecture
from models_registry.task_names import FEATURE_EXTRACTION, TEXT_CLASSIFICATION, TEXT_GENERATION
from service.front.api.v2.datatypes import BYTES, DATATYPES
from service.front.requests import ModelStatus

ANY = -1


class TensorMetadata(BaseModel):
    name: str = Field(description="The model's own; `text` for texts.", examples=["input_ids"])
    datatype: str = Field(description="The protocol's name.", examples=["INT64"])
    shape: list[int] = Field(description="-1 is any size.", examples=[[-1, -1]])


_TEXT = TensorMetadata(name="text", datatype=BYTES, shape=[ANY])


def inputs_of(status: ModelStatus, architecture: Architecture | None) -> list[TensorMetadata]:
    if status.base.example_inputs:
        return _of_examples(decode_inputs(status.base.example_inputs))
    if architecture is None or not _reads_tokens(architecture):
        return []
    tokens = [TensorMetadata(name=name, datatype="INT64", shape=[ANY, ANY]) for name in ("input_ids", "attention_mask")]
    return [_TEXT, *tokens]


def outputs_of(status: ModelStatus) -> list[TensorMetadata]:
    datatype, labels = _computed_in(status), status.base.num_labels or ANY
    known = {
        TEXT_GENERATION: [_TEXT, TensorMetadata(name="logits", datatype=datatype, shape=[ANY, ANY, ANY])],
        TEXT_CLASSIFICATION: [
            TensorMetadata(name="label", datatype=BYTES, shape=[ANY]),
            TensorMetadata(name="score", datatype="FP32", shape=[ANY]),
            TensorMetadata(name="logits", datatype=datatype, shape=[ANY, labels]),
        ],
        FEATURE_EXTRACTION: [TensorMetadata(name="embedding", datatype=datatype, shape=[ANY, ANY])],
    }
    return known.get(status.task or "", [])


def _of_examples(inputs: Inputs) -> list[TensorMetadata]:
    """Any number of rows of what was given, or any shape of what has no rows."""
    if inputs.has_text:
        return [_TEXT]
    return [
        TensorMetadata(
            name=name,
            datatype=DATATYPES[dtype_name(tensor.dtype)],
            shape=[ANY, *tensor.shape[1:]] if tensor.ndim else [],
        )
        for name, tensor in inputs.tensors.items()
    ]


def _reads_tokens(architecture: Architecture) -> bool:
    """Whether its input embedding looks up tokens, as a vision model's doesn't."""
    modules = {module.name: module for module in architecture.modules}
    embedding = architecture.input_embedding
    return embedding is not None and embedding in modules and modules[embedding].type == "Embedding"


def _computed_in(status: ModelStatus) -> str:
    as_stored = status.arithmetic is None or status.arithmetic.form == "as_stored"
    return DATATYPES.get(status.dtype or "", "FP32") if as_stored else "FP32"
