"""The adapters that the caller sees: found by what lists are searched for, and each on a page of its own."""

from functools import partial
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from models_registry.references import pick_version, team_of
from service.console.gate import HTMX
from service.console.pages import page
from service.console.sessions import HERE
from service.console.snippets import snippets
from service.console.strength_map import strength_map
from service.front.access.caller import current_caller
from service.front.access.names import shown
from service.front.api.adapter_answers import show_adapter
from service.front.api.adapter_query import AdapterQuery, Sort, show_page
from service.front.api.dependencies import AdapterName, TheEngine, VersionNumber
from service.front.api.routes.differences import TheThread
from service.front.api.routes.states import ReferenceQuery

router = APIRouter(include_in_schema=False)
_Text = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.get(f"{HERE}/adapters")
def show_adapters(
    request: Request,
    engine: TheEngine,
    q: _Text = "",
    labels: Annotated[str, Query(max_length=8000)] = "",
    method: Literal["", "LORA", "ADALORA", "IA3"] = "",
    sort: Sort = "name",
    cursor: Annotated[str | None, Query(max_length=512)] = None,
) -> Response:
    asked = AdapterQuery(q=q or None, labels=labels or None, method=method or None, sort=sort, cursor=cursor)
    found = show_page(engine.adapter_lists.page(asked.limit, asked.search, asked.after, counted=True))
    return page("adapters.html", request.scope, found=found, q=q, labels=labels, method=method, sort=sort)


@router.get(f"{HERE}/adapters/{{name}}")
def show_one_adapter(
    request: Request, name: AdapterName, engine: TheEngine, version: VersionNumber | None = None
) -> Response:
    """With the config of one version, the newest by default."""
    status = engine.adapters.find(name)
    chosen = status.adapter.newest if version is None else pick_version(status.adapter, f"{name}@{version}")
    task = engine.models.find(status.adapter.model).task
    return page(
        "adapter.html",
        request.scope,
        adapter=show_adapter(status),
        chosen=chosen,
        reference=shown(chosen.reference),
        may_change=_may_change(name),
        snippets=snippets(str(request.base_url), status.adapter, shown(name), task),
    )


@router.get(f"{HERE}/adapters/{{name}}/map")
async def show_map(request: Request, reference: ReferenceQuery, engine: TheEngine, thread: TheThread) -> Response:
    """Where a version acts, and how strongly: a part of the adapter's page."""
    version, found = await thread.run(partial(engine.differences.strengths, reference))
    modules = await to_thread.run_sync(engine.models.modules, version.model)
    return page(
        "map.html",
        request.scope,
        reference=shown(version.reference),
        map=strength_map(found, modules.entered),
        is_part=HTMX in request.headers,
    )


def _may_change(name: str) -> bool:
    caller = current_caller()
    return caller.may("publisher") and caller.owns(team_of(name))
