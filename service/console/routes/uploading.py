"""Bringing an adapter by dragging PEFT's files onto a page. What a page's script sends is what the API takes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from service.console.choices import MOST_MODELS
from service.console.forms import FromOurPage
from service.console.pages import page
from service.console.sessions import HERE
from service.front.api.dependencies import WRITTEN_NAME, TheEngine
from service.front.api.routes.adapters import add_version, create_adapter

router = APIRouter(include_in_schema=False)
router.add_api_route(
    f"{HERE}/models/{{model_id}}/adapters", create_adapter, methods=["POST"], dependencies=[FromOurPage]
)
router.add_api_route(f"{HERE}/adapters/{{name}}/versions", add_version, methods=["POST"], dependencies=[FromOurPage])


@router.get(f"{HERE}/upload")
def show_upload(
    request: Request, engine: TheEngine, adapter: Annotated[str, Query(pattern=f"^({WRITTEN_NAME})?$")] = ""
) -> Response:
    """For a new adapter, or for a new version of one."""
    return page("upload.html", request.scope, models=engine.models.page(MOST_MODELS), adapter=adapter)
