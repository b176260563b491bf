"""What the protocol's inference is answered with, in JSON and with bytes behind it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field
from torch import Tensor

from models_registry.dtypes import dtype_name
from models_registry.errors import Unsupported
from models_registry.inputs.values import OutputValue
from service.front.api.http.tensors import encode_outputs, write_json
from service.front.api.infer_answer import choice_as_json
from service.front.api.v2.binary_tensors import write_binary
from service.front.api.v2.datatypes import BYTES, DATATYPES
from service.front.api.v2.infer_body import InferenceBody
from service.front.requests import AdapterChoice, Digest, InferAnswer


class OutputTensor(BaseModel):
    name: str = Field(description="The model's own.", examples=["logits"])
    shape: list[int] = Field(description="Row by row.", examples=[[1, 2]])
    datatype: str = Field(description="The protocol's name.", examples=["FP32"])
    parameters: dict[str, int] | None = Field(
        default=None,
        description="`binary_data_size`, the bytes of it behind the JSON.",
        examples=[{"binary_data_size": 8}],
    )
    data: list[float | int | bool | str] | None = Field(
        default=None, description="Flat and row-major, unless it is binary.", examples=[[0.5, -2.0]]
    )


class InferenceAnswer(BaseModel):
    """`parameters` says what produced it: `adapter` and `digest`, as strings of JSON where rows differ or adapters are
    composed."""

    model_name: str = Field(description="The base model's id.", examples=["smollm2"])
    model_version: str | None = Field(
        default=None, description="The exact version, where all rows have the same one.", examples=["tone@3"]
    )
    id: str | None = Field(default=None, description="The request's.", examples=["42"])
    parameters: dict[str, str] = Field(
        description="What produced it.", examples=[{"adapter": "tone@3", "digest": f"sha256:{'1f' * 32}"}]
    )
    outputs: list[OutputTensor] = Field(description="By name.")


@dataclass(frozen=True, slots=True)
class Written:
    """An answer's bytes. The first `header_size` are JSON; None where all of them are."""

    content: bytes
    header_size: int | None


def write_answer(body: InferenceBody, answer: InferAnswer) -> Written:
    """Raises `Unsupported` for numbers that the protocol has no datatype for."""
    by_default = body.own.binary_data_output
    parts: list[bytes] = []
    outputs: list[Mapping[str, Any]] = []
    for name, value in answer.outputs.items():
        head = {"name": name, "datatype": _datatype(name, value), "shape": _shape(value)}
        if body.is_binary(name, by_default):
            parts.append(write_binary(value))
            outputs.append({**head, "parameters": {"binary_data_size": len(parts[-1])}})
        else:
            written = encode_outputs({name: value})[name]
            outputs.append({**head, "data": written["data"] if isinstance(value, Tensor) else written})
    header = write_json({**_head(body, answer), "outputs": outputs})
    return Written(b"".join([header, *parts]), len(header)) if parts else Written(header, None)


def _head(body: InferenceBody, answer: InferAnswer) -> dict[str, Any]:
    adapter, digest = _one_of(answer.adapter), _one_of(answer.digest)
    version = {"model_version": adapter} if isinstance(adapter, str) else {}
    named = {} if body.id is None else {"id": body.id}
    told = {"adapter": adapter, "digest": digest}
    words = {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items() if value}
    return {"model_name": answer.model, **version, **named, "parameters": words}


def _one_of(rows: tuple[AdapterChoice, ...] | tuple[Digest, ...]) -> Any:
    """What all rows share, or all of them."""
    written = list(map(choice_as_json, rows))
    return written[0] if all(one == written[0] for one in written) else written


def _shape(value: OutputValue) -> list[int]:
    return list(value.shape) if isinstance(value, Tensor) else [len(value)]


def _datatype(name: str, value: OutputValue) -> str:
    if not isinstance(value, Tensor):
        return BYTES
    dtype = dtype_name(value.dtype)
    if dtype not in DATATYPES:
        raise Unsupported(
            f"The output {name!r} is of {dtype}, for which the Open Inference Protocol has no datatype here.",
            hint="Name the other outputs in `outputs`, or ask POST /models/{id}/infer for safetensors.",
        )
    return DATATYPES[dtype]
