"""What the protocol's callers send to an inference, and the request that it stands for."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor

from models_registry.errors import Invalid
from models_registry.inputs.json_arrays import JsonArray, Unreadable
from models_registry.inputs.json_inputs import decode_inputs
from models_registry.inputs.values import PIXELS, Inputs
from models_registry.records import Fault, Location
from service.front.api.http.bodies import validate
from service.front.api.infer_body import Call
from service.front.api.v2.binary_tensors import read_tensor, read_texts
from service.front.api.v2.datatypes import BYTES, READ
from service.front.api.v2.json_tensors import flat
from service.front.requests import AdapterChoices

TEXT = "text"
_OWN = ("adapter", "binary_data_output", "chat", "timeout")
"""Parameters that mean something here; all others are those of texts that are to be written."""


def _as_datatype(value: Any) -> Any:
    if value not in READ:
        raise ValueError(f"must be one of {', '.join(READ)}")
    return value


class TensorParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    binary_data_size: int | None = Field(
        default=None, ge=0, description="How many bytes of it stand behind the JSON.", examples=[16]
    )


class TensorBody(BaseModel):
    """A named tensor; of datatype `BYTES` the texts, one a row, which are the input `text`."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="As the model calls it; `text` for texts.", examples=["input_ids", "text"])
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(max_length=32)] = Field(
        description="Row by row.", examples=[[1, 3]]
    )
    datatype: Annotated[str, BeforeValidator(_as_datatype), Field(json_schema_extra={"enum": list(READ)})] = Field(
        description="The protocol's name.", examples=["INT64", "BYTES"]
    )
    parameters: TensorParameters = Field(
        default=TensorParameters(), title="Parameters", description="Where its data are, if not in `data`."
    )
    data: Any = Field(
        default=None,
        description="Numbers or texts, flat and row-major or as nested lists. Numbers that JSON can't write are "
        '`"NaN"`, `"Infinity"` and `"-Infinity"`.',
        examples=[[1, 2, 3]],
    )


class OutputParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    binary_data: bool | None = Field(
        default=None, description="Whether it is returned behind the JSON, as bytes.", examples=[True]
    )


class WantedOutput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="One of the model's outputs.", examples=["logits"])
    parameters: OutputParameters = Field(
        default=OutputParameters(), title="Parameters", description="How it is to be returned."
    )


class InferenceBody(BaseModel):
    """`parameters.adapter` names the adapter, unless the address does: a reference, or (also as a string of JSON) a
    composition `{reference: weight}` or a list with one for each row. `timeout` is in microseconds. With any other
    parameter, such as `max_new_tokens`, a text-generation model writes; `chat` is as in `/models/{id}/infer`."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, description="Comes back in the answer.", examples=["42"])
    parameters: dict[str, Any] = Field(
        default={}, description="Of the request.", examples=[{"adapter": "tone@prod"}, {"max_new_tokens": 32}]
    )
    inputs: list[TensorBody] = Field(min_length=1, description="All that the model is called with.")
    outputs: list[WantedOutput] | None = Field(
        default=None, min_length=1, description="Only these. By default as in `/models/{id}/infer`."
    )

    @property
    def wanted(self) -> tuple[str, ...] | None:
        return None if self.outputs is None else tuple(output.name for output in self.outputs)

    @property
    def writing(self) -> Mapping[str, Any] | None:
        """The parameters of texts that are to be written; None where there are none."""
        return {name: value for name, value in self.parameters.items() if name not in _OWN} or None

    @property
    def own(self) -> "OwnParameters":
        """Raises `Invalid`."""
        given = {name: value for name, value in self.parameters.items() if name in _OWN and name != "adapter"}
        return validate(OwnParameters, given, ("parameters",))

    def is_binary(self, output: str, by_default: bool) -> bool:
        asked = (one.parameters.binary_data for one in self.outputs or () if one.name == output)
        return next((given for given in asked if given is not None), by_default)


class OwnParameters(BaseModel):
    binary_data_output: Annotated[bool, Field(strict=True)] = False
    chat: Annotated[bool, Field(strict=True)] | None = None
    timeout: Annotated[int, Field(strict=True, gt=0)] | None = None


def choices_of(given: Any, reference: str | None) -> AdapterChoices:
    """What `parameters.adapter` (from JSON, if it was a string of that) and the address name. Raises `Invalid`."""
    if reference is not None and given is not None:
        message = f"names adapters beside the address, which names {reference!r}; leave one of them out"
        raise Invalid("The adapter is named twice.", [Fault(("parameters", "adapter"), message)])
    return reference or validate(Call, {"adapter": given}, ("parameters",)).choices


def inputs_of(body: InferenceBody, binary: memoryview) -> Inputs:
    """`binary` is what stands behind the JSON. Raises `Invalid` with the first input that is wrong."""
    start, read = 0, dict[str, Any]()
    for row, tensor in enumerate(body.inputs):
        at: Location = ("inputs", row)
        if tensor.name in read:
            raise _wrong((*at, "name"), f"{tensor.name!r} is there twice; give each input once")
        size = tensor.parameters.binary_data_size
        if (size is None) == (tensor.data is None):
            raise _wrong((*at, "data"), "must be given, or else parameters.binary_data_size, and not both")
        if size is not None and start + size > len(binary):
            message = f"leads beyond the end of the body, where {len(binary) - start} bytes are left"
            raise _wrong((*at, "parameters", "binary_data_size"), message)
        read[tensor.name] = _read(tensor, binary[start : start + (size or 0)], at)
        start += size or 0
    if start < len(binary):
        raise _wrong(("inputs",), f"take {start} of the {len(binary)} bytes behind the JSON; say whose the others are")
    if TEXT not in read:
        return Inputs(tensors=cast(dict[str, Tensor], read))
    pixels = {name: tensor for name, tensor in read.items() if name == PIXELS}
    texts = decode_inputs({name: value for name, value in read.items() if name not in pixels})
    return replace(texts, tensors=pixels)


def _read(tensor: TensorBody, binary: memoryview, at: Location) -> Tensor | list[Any]:
    is_binary = tensor.data is None
    if tensor.datatype == BYTES:
        if tensor.name != TEXT:
            raise _wrong((*at, "name"), f"is {tensor.name!r}: inputs of datatype BYTES are texts, and are named `text`")
        texts: Any = read_texts(binary, at) if is_binary else flat(tensor.data)
        if not isinstance(texts, list) or len(cast(list[Any], texts)) != math.prod(tensor.shape):
            message = f"must be as many texts as shape {tensor.shape} has"
            raise _wrong((*at, "data"), message)
        return cast(list[Any], texts)
    if tensor.name == TEXT:
        raise _wrong((*at, "datatype"), f"is {tensor.datatype}: the input `text` holds texts, of datatype BYTES")
    if is_binary:
        return read_tensor(binary, tensor.datatype, tensor.shape, at)
    if isinstance(tensor.data, Unreadable):
        raise _wrong((*at, *tensor.data.at), tensor.data.message)
    assert isinstance(tensor.data, JsonArray)
    return decode_inputs({tensor.name: tensor.data}).tensors[tensor.name]


def _wrong(at: Location, message: str) -> Invalid:
    return Invalid("An input can't be read.", [Fault(at, message)])
