"""The base models: how each is, what it takes, what waits for it."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.console.pages import page
from service.console.sessions import HERE
from service.front.access.caller import current_caller
from service.front.api.dependencies import TheEngine
from service.front.api.model_answers import show_model

router = APIRouter(include_in_schema=False)
MOST: int = 200


@router.get(HERE)
def show_models(request: Request, engine: TheEngine) -> Response:
    """What only admins see of a host in the API, only they see here."""
    models = [show_model(status) for status in engine.models.page(MOST)]
    stats = engine.models.stats() if current_caller().may("admin") else {}
    return page("models.html", request.scope, models=models, stats=stats)
