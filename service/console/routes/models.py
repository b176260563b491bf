"""The base models: how each is, what it takes, what waits for it."""

from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from models_registry.usage_records import hour_of
from service.console.charts import Chart, chart
from service.console.pages import page
from service.console.sessions import HERE
from service.front.access.caller import current_caller
from service.front.api.dependencies import TheEngine, TheUsage
from service.front.api.model_answers import show_model
from service.front.api.usage_answers import as_items
from service.front.services.usage import UsageReports

router = APIRouter(include_in_schema=False)
MOST: Final = 200
HOURS: Final = 24
"""So far back the load of each model is shown."""


@router.get(HERE)
def show_models(request: Request, engine: TheEngine, usage: TheUsage) -> Response:
    """What only admins see of a host in the API, only they see here."""
    models = [show_model(status) for status in engine.models.page(MOST)]
    stats = engine.models.stats() if current_caller().may("admin") else {}
    loads = _loads(usage, [model.id for model in models])
    return page("models.html", request.scope, models=models, stats=stats, loads=loads, hours=HOURS)


def _loads(usage: UsageReports, models: list[str]) -> dict[str, Chart]:
    """Each model's requests by hours, as far as the caller may know of them."""
    since = hour_of(datetime.now(UTC) - timedelta(hours=HOURS - 1))
    found = as_items(("model", "hour"), usage.report(current_caller(), ("model", "hour"), since, None))
    times = [since + timedelta(hours=step) for step in range(HOURS)]
    return {
        id: chart(times, {item.hour: item.requests for item in found if item.model == id and item.hour})
        for id in models
    }
