"""One input, several adapters and versions beside the base: texts are streamed, other answers are bars and cosines."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from models_registry.errors import Invalid
from service.console.choices import choices
from service.console.forms import Form, TheForm
from service.console.pages import page
from service.console.sessions import HERE
from service.console.trials import columns_of, similarities, trial_of
from service.front.api.dependencies import NAME_PATTERN, ModelId, TheEngine, TheMetrics, json_reader_of
from service.front.api.http.client_disconnect import while_there
from service.front.api.http.event_stream import EventStream
from service.front.api.infer_events import infer_events

router = APIRouter(include_in_schema=False)


@router.get(f"{HERE}/playground")
def show_playground(
    request: Request,
    engine: TheEngine,
    model: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    adapters: Annotated[str, Query(max_length=4000)] = "",
) -> Response:
    """With these adapters chosen, commas between them."""
    chosen = [reference.strip() for reference in adapters.split(",") if reference.strip()]
    return page("playground.html", request.scope, choices=choices(engine, model), chosen=chosen)


@router.post(f"{HERE}/models/{{model_id}}/try")
async def try_adapters(
    request: Request, model_id: ModelId, form: TheForm, engine: TheEngine, metrics: TheMetrics
) -> Response:
    """Events while a model writes, as of `POST /models/{id}/infer` with `stream`; else a part of the page."""
    asked = trial_of(model_id, form, await _tensors(request, form))
    if asked.parameters is not None:
        return EventStream(infer_events(request, asked))
    async with while_there(request):
        answer = await engine.infer(asked)
    metrics.count_inference(answer)
    columns = columns_of(answer)
    return page(
        "answers.html",
        request.scope,
        columns=columns,
        similarities=similarities(columns),
        answer=answer,
        model=model_id,
    )


async def _tensors(request: Request, form: Form) -> dict[str, Any] | None:
    if form.get("kind") != "tensors":
        return None
    value = await json_reader_of(request).read(form.need("input").encode())
    if not isinstance(value, dict):
        raise Invalid('The input is no JSON object of tensors by their names, as in {"x": [[1.0, 2.0]]}.')
    return cast(dict[str, Any], value)
