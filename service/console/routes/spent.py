"""What was used: a chart by hours, and a table by adapters."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from models_registry.usage_records import hour_of
from service.console.charts import chart
from service.console.pages import page
from service.console.sessions import HERE
from service.front.access.caller import current_caller
from service.front.api.dependencies import TheUsage
from service.front.api.usage_answers import as_items

router = APIRouter(include_in_schema=False)
MOST_GROUPS = 500


@router.get(f"{HERE}/usage")
def show_usage(request: Request, usage: TheUsage, days: Annotated[int, Query(ge=1, le=90)] = 7) -> Response:
    caller, now = current_caller(), datetime.now(UTC)
    since = hour_of(now - timedelta(days=days))
    by_hour = {item.hour: item for item in as_items(("hour",), usage.report(caller, ("hour",), since, None))}
    hours = [since + timedelta(hours=step) for step in range(days * 24 + 1)]
    charts = {
        "Requests": chart(hours, {at: item.requests for at, item in by_hour.items() if at}),
        "Tokens": chart(hours, {at: item.prompt_tokens + item.generated_tokens for at, item in by_hour.items() if at}),
        "Forward seconds": chart(hours, {at: item.forward_seconds for at, item in by_hour.items() if at}),
        "Errors": chart(hours, {at: item.errors for at, item in by_hour.items() if at}),
    }
    parts = ("team", "model", "adapter", "version")
    items = as_items(parts, usage.report(caller, parts, since, None))
    items.sort(key=lambda item: item.requests, reverse=True)
    return page("usage.html", request.scope, charts=charts, items=items[:MOST_GROUPS], days=days)
