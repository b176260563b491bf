"""The OpenAPI document: FastAPI's, plus the bodies that this service reads itself, to limit them while they arrive."""

import json
from typing import Any

import pydantic
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.front.access.route_roles import entries, is_open
from service.front.api.adapter_words import AdapterWordsBody, VersionWordsBody
from service.front.api.http.uploads import FreshAdapterBody, UploadedAdapterBody, UploadedVersionBody
from service.front.api.infer_answer import InferAnswerBody
from service.front.api.infer_body import InferBody
from service.front.api.model_answers import ModelChangeBody
from service.front.api.openai.chat_answer import ChatAnswer, ChatChunk
from service.front.api.openai.chat_body import ChatBody
from service.front.api.openai.completion_answer import CompletionAnswer
from service.front.api.openai.completion_body import CompletionBody
from service.front.api.openai.embeddings_answer import EmbeddingsAnswer
from service.front.api.openai.embeddings_body import EmbeddingsBody
from service.front.api.openai.error_bodies import ErrorBody
from service.front.api.openai.lora import LoadLoraBody, UnloadLoraBody
from service.front.api.openai.response_answer import ResponseAnswer, ResponseEvent
from service.front.api.openai.responses_body import ResponsesBody
from service.front.api.problem_schema import Problem
from service.front.api.routes.aliases import AliasBody, RollbackBody
from service.front.api.routes.compositions import CompositionBody
from service.front.api.routes.keys import NewKeyBody
from service.front.api.routes.models import NewModelBody
from service.front.api.routes.teams import ChangedTeamBody, NewTeamBody
from service.front.api.v2.errors import InferenceError
from service.front.api.v2.infer_answer import InferenceAnswer
from service.front.api.v2.infer_body import InferenceBody

_OURS: tuple[type[pydantic.BaseModel], ...] = (
    AdapterWordsBody,
    AliasBody,
    ChangedTeamBody,
    ChatAnswer,
    ChatBody,
    ChatChunk,
    CompletionAnswer,
    CompletionBody,
    CompositionBody,
    EmbeddingsAnswer,
    EmbeddingsBody,
    ErrorBody,
    FreshAdapterBody,
    InferAnswerBody,
    InferBody,
    InferenceAnswer,
    InferenceBody,
    InferenceError,
    LoadLoraBody,
    ModelChangeBody,
    NewKeyBody,
    NewModelBody,
    NewTeamBody,
    Problem,
    ResponseAnswer,
    ResponseEvent,
    ResponsesBody,
    RollbackBody,
    UnloadLoraBody,
    UploadedAdapterBody,
    UploadedVersionBody,
    VersionWordsBody,
)
# FastAPI documents its own validation errors wherever a route takes parameters; here they are problems like all others.
_NOT_OURS = ("HTTPValidationError", "ValidationError")


SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key (`ask_…`), or a token of the identity provider.",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key (`ask_…`)."},
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
"""Either. A service without keys, or with ADAPTER_SERVICE_ALLOW_ANONYMOUS, also takes calls without."""


def build_document(app: FastAPI) -> dict[str, Any]:
    """The document of `app`'s routes, the same one for the same code."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, servers=app.servers
    )
    roles = {(method, path): role for method, path, role in entries()}
    schemas: dict[str, Any] = {**_our_schemas(), **document["components"]["schemas"]}
    for name in _NOT_OURS:
        schemas.pop(name, None)
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    for address, path in document["paths"].items():
        for method, operation in path.items():
            operation["security"] = [] if is_open(address) else SECURITY
            if (needed := roles.get((method.upper(), address))) is not None:
                operation["x-required-role"] = needed
            if "HTTPValidationError" in json.dumps(operation["responses"].get("422", {})):
                del operation["responses"]["422"]
    document["components"]["schemas"] = {name: schemas[name] for name in sorted(schemas)}
    return document


def export_document(app: FastAPI) -> str:
    """The document as openapi/openapi.json holds it."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def _our_schemas() -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "validation") for model in _OURS], ref_template="#/components/schemas/{model}"
    )
    return definitions["$defs"]
