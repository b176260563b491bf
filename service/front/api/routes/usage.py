"""What teams used, for charging them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from service.front.access.caller import current_caller
from service.front.api.dependencies import TheUsage
from service.front.api.http.accepted import accepts
from service.front.api.problems import documented
from service.front.api.usage_answers import CSV, UsageAnswer, as_csv, as_items
from service.front.api.usage_query import UsageAsked, read_usage_query

router = APIRouter(tags=["usage"])


@router.get(
    "/usage",
    response_model_exclude_unset=True,
    response_model=UsageAnswer,
    responses={
        200: {
            "description": "One object, or one line of CSV, for each group",
            "content": {CSV: {"schema": {"type": "string"}}},
        },
        **documented(),
    },
)
def report_usage(
    request: Request, asked: Annotated[UsageAsked, Depends(read_usage_query)], usage: TheUsage
) -> UsageAnswer | Response:
    """What the caller's own team used, for an admin what all used; for a key that is limited to models or adapters,
    what it used itself. Usage of this process is complete; that of others may be some seconds old."""
    sums = usage.report(current_caller(), asked.by, asked.since, asked.until)
    if accepts(request, CSV):
        return Response(as_csv(asked.by, sums), media_type=CSV)
    return UsageAnswer(items=as_items(asked.by, sums))
