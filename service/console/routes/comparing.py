"""Two versions of an adapter, or an adapter and the base, on a set of inputs that is pasted."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from models_registry.references import team_of
from service.console.choices import choices
from service.console.comparisons import as_csv, compared, comparison_of
from service.console.forms import TheForm
from service.console.pages import page
from service.console.sessions import HERE
from service.front.access.caller import current_caller
from service.front.access.names import stored
from service.front.api.dependencies import NAME_PATTERN, ModelId, TheEngine, TheMetrics
from service.front.api.http.client_disconnect import while_there

router = APIRouter(include_in_schema=False)
_Reference = Annotated[str, Query(max_length=386)]


@router.get(f"{HERE}/compare")
def show_compare(
    request: Request,
    engine: TheEngine,
    model: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    before: _Reference = "",
    after: _Reference = "",
) -> Response:
    return page("compare.html", request.scope, choices=choices(engine, model), before=before, after=after)


@router.post(f"{HERE}/models/{{model_id}}/compare")
async def compare_here(
    request: Request, model_id: ModelId, form: TheForm, engine: TheEngine, metrics: TheMetrics
) -> Response:
    asked, texts = comparison_of(model_id, form)
    async with while_there(request):
        answer = await engine.infer(asked)
    metrics.count_inference(answer)
    rows = compared(texts, answer)
    before, after = answer.adapter[0], answer.adapter[-1]
    return page(
        "compared.html",
        request.scope,
        model=model_id,
        rows=rows,
        before=before,
        after=after,
        csv=f"data:text/csv;charset=utf-8,{quote(as_csv(rows))}",
        may_move=isinstance(after, str) and _may_move(after),
    )


def _may_move(reference: str) -> bool:
    caller = current_caller()
    return caller.may("publisher") and caller.owns(team_of(stored(reference)))
