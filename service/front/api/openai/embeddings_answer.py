"""What `/v1/embeddings` answers."""

import base64
from typing import Literal

from pydantic import BaseModel, Field
from torch import Tensor

from service.front.api.http.tensors import write_json
from service.front.api.openai.embeddings_body import EmbeddingsBody
from service.front.requests import InferAnswer


class Embedding(BaseModel):
    object: Literal["embedding"] = Field(description="What this is.")
    index: int = Field(description="The text's place in the request.", examples=[0])
    embedding: list[float] | str = Field(
        description="The vector, or its bytes in base64.", examples=[[0.013, -0.071], "AACAPwAAAEA="]
    )


class EmbeddingUsage(BaseModel):
    prompt_tokens: int = Field(description="Tokens of the texts.", examples=[8])
    total_tokens: int = Field(description="The same.", examples=[8])


class EmbeddingsAnswer(BaseModel):
    object: Literal["list"] = Field(description="What this is.")
    model: str = Field(description="As the request named it.", examples=["minilm"])
    data: list[Embedding] = Field(description="In the order of the texts.")
    usage: EmbeddingUsage = Field(title="Usage", description="What they took.")


def embeddings_as_json(body: EmbeddingsBody, vectors: Tensor, answer: InferAnswer) -> bytes:
    """`vectors` float32 [texts, dimensions]. Not by way of the schema, for there may be millions of numbers."""
    numbers = vectors.contiguous().numpy()
    as_bytes = body.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": row, "embedding": base64.b64encode(one).decode() if as_bytes else one}
        for row, one in enumerate(numbers)
    ]
    counted = answer.outputs["token_count"]
    tokens = int(counted.sum()) if isinstance(counted, Tensor) else 0
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return write_json({"object": "list", "model": body.model, "data": data, "usage": usage})
