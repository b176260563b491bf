"""The only place that assembles. What needs a disk, a thread or a database begins in the app's lifespan."""

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from opentelemetry.trace import NoOpTracer, Tracer
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from models_registry.access import Access
from models_registry.base_models.sources import SourcePolicy
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore, open_blob_store
from models_registry.storage.database import migrate, open_database
from models_registry.team_spending import TeamSpending
from models_registry.usage import Usage
from service.console.error_pages import Pages
from service.console.gate import ConsoleGate
from service.console.routers import ROUTERS as CONSOLE
from service.console.sessions import Sessions
from service.front.access.failed_logins import FailedLogins
from service.front.access.guard import require_guarded
from service.front.access.key_ring import KeyRing
from service.front.access.refusals import Refusals
from service.front.admission.limit_exchange import LimitExchange
from service.front.admission.team_threads import TeamThreads
from service.front.admission.thread_turns import take_turns_for_threads
from service.front.api.http.json_reader import JsonReader
from service.front.api.http.strict_query import require_known_query
from service.front.api.metrics.metrics import CountRequests, Metrics
from service.front.api.middleware.audit import RecordOrigin
from service.front.api.middleware.authentication import Authenticate
from service.front.api.middleware.draining import Drain, RefuseWhileDraining
from service.front.api.middleware.foreign_pages import RefuseForeignPages
from service.front.api.middleware.generation import FollowGeneration, TellGeneration
from service.front.api.middleware.internal_errors import AnswerUnforeseen
from service.front.api.middleware.other_words import AnswerInOtherWords
from service.front.api.middleware.prefix import UnderPrefix
from service.front.api.middleware.rate_limits import AddRateLimits
from service.front.api.middleware.request_bounds import RefuseUnreadable
from service.front.api.middleware.request_ids import IdentifyRequests
from service.front.api.middleware.request_log import LogRequests
from service.front.api.middleware.security_headers import SetSecurityHeaders
from service.front.api.middleware.single_headers import RefuseRepeatedHeaders
from service.front.api.openai.error_bodies import OPENAIS_WORDS
from service.front.api.openai.routers import OPENAI
from service.front.api.openapi import build_document
from service.front.api.problems import install_problems
from service.front.api.route_check import require_complete
from service.front.api.routes import (
    adapters,
    aliases,
    comparisons,
    compositions,
    differences,
    events,
    health,
    inference,
    keys,
    loading,
    models,
    removals,
    states,
    teams,
    usage,
)
from service.front.api.routes.version import router as version_router
from service.front.api.telemetry import is_traced, telemetry_of
from service.front.api.v2.errors import THE_PROTOCOLS_WORDS
from service.front.api.v2.routers import OPEN_INFERENCE
from service.front.engine import Engine
from service.front.periodic import Periodic
from service.front.services.keys import Keys
from service.front.services.lora_directories import LoraDirectories
from service.front.services.observers import Observers
from service.front.services.teams import Teams
from service.front.services.usage import UsageReports
from service.front.services.usage_flusher import UsageFlusher
from service.front.services.usage_meter import UsageMeter
from service.hosting import OpenTransport, limits_of, open_transport, times_of
from service.secret_values import redactor_of, secret_of
from service.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from service.console.identity_provider import IdentityProvider
    from service.front.access.tokens import Tokens

log = logging.getLogger(__name__)

REMOVALS, COMPOSITIONS, LOADS = 4, 4, 8
"""So many removals that wait for requests, merges, and loads that somebody waits for are under way at a time."""
CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CORS_SENT = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Range",
    "X-API-Key",
    "X-Registry-Generation",
    "X-Request-ID",
    "X-Request-Timeout",
    "X-Routing-Key",
)
CORS_SHOWN = ("ETag", "Location", "Retry-After", "X-Adapter", "X-Registry-Generation", "X-Request-ID")
"""What pages of other origins may send, and read of an answer, besides what every page may."""
BOOKKEEPING_S = 1.0
"""So often what was noted of callers is written."""

SERVERS = [
    {"url": "/", "description": "The service that this document came from."},
    {"url": "http://127.0.0.1:8000", "description": "A service on this machine, with its default settings."},
]
"""For those who read the document beside a running service, and from a file."""


def create_app(settings: Settings, open_transport: OpenTransport = open_transport) -> FastAPI:
    """The service's ASGI app. Starts nothing: its lifespan does, also the transport."""
    tracing = _tracing()
    app = FastAPIOffline(
        title="Adapter Service",
        version=version("adapter-service"),
        description="Injects named adapters (LoRA, AdaLoRA, IA3) into hosted base models. Every answer says in "
        "`X-Registry-Generation` which state of the registry it saw; a request that sends it back is answered from "
        "that state or a newer one, also by another process, or with 503 where that can't see it yet.",
        servers=[{"url": settings.root_path}] if settings.root_path else SERVERS,
        lifespan=_lifespan,
        generate_unique_id_function=_operation_id,
        dependencies=[Depends(require_known_query)],
        telemetry=telemetry_of(tracing),
        redoc_url=None,  # its script shows an image of its makers' host
        swagger_ui_parameters={"validatorUrl": None},  # else the page shows the document to a site of its makers'
    )
    app.state.settings = settings
    app.state.open_transport = open_transport
    app.state.tracing = tracing
    app.state.metrics = Metrics()
    app.state.drain = Drain()
    app.state.json_reader = JsonReader()
    app.state.removals = TeamThreads(REMOVALS)
    app.state.differences = TeamThreads(1)
    app.state.compositions = TeamThreads(COMPOSITIONS)
    app.state.loads = TeamThreads(LOADS)
    app.state.sessions = sessions = Sessions(secret_of(settings.console_secret))
    app.state.failed_logins = FailedLogins()
    app.openapi = partial(_document, app)
    # Routes are tried one after the other, so the one that is called most goes first.
    ours = (inference, models, adapters, loading, compositions, states, aliases, removals, differences)
    administration = (comparisons, events, keys, teams, usage, health)
    routers = tuple(resource.router for resource in (*ours, *administration))
    for router in (*routers, *OPENAI, *OPEN_INFERENCE, version_router, *CONSOLE):
        require_complete(router.routes)
        app.include_router(router)
    app.mount("/console/assets", StaticFiles(packages=[("service.console", "assets")]))
    install_problems(app, redactor_of(settings))
    # The last one added is the outermost.
    app.add_middleware(AddRateLimits)
    app.add_middleware(FollowGeneration)
    app.add_middleware(Authenticate, metrics_token=secret_of(settings.metrics_token), metrics=app.state.metrics)
    app.add_middleware(RefuseForeignPages, allowed=settings.cors_origins)
    app.add_middleware(ConsoleGate, sessions=sessions)
    app.add_middleware(RecordOrigin)
    app.add_middleware(RefuseRepeatedHeaders)
    app.add_middleware(RefuseUnreadable)
    app.add_middleware(RefuseWhileDraining, drain=app.state.drain)
    app.add_middleware(AnswerUnforeseen)
    app.add_middleware(AnswerInOtherWords, words=OPENAIS_WORDS)
    app.add_middleware(AnswerInOtherWords, words=THE_PROTOCOLS_WORDS)
    app.add_middleware(AnswerInOtherWords, words=Pages())
    app.add_middleware(TellGeneration)
    app.add_middleware(SetSecurityHeaders)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=CORS_METHODS,
            allow_headers=CORS_SENT,
            expose_headers=CORS_SHOWN,
        )
    app.add_middleware(CountRequests, metrics=app.state.metrics)
    app.add_middleware(LogRequests)
    app.add_middleware(IdentifyRequests)
    if settings.root_path:
        app.add_middleware(UnderPrefix, prefix=settings.root_path)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    settings: Settings = app.state.settings
    take_turns_for_threads()
    if settings.migrates_at_start:
        await run_in_threadpool(migrate, settings.database_url)
    tracing: TracerProvider | None = app.state.tracing
    tracer = None if tracing is None else tracing.get_tracer("adapter-service")
    blobs = await run_in_threadpool(open_blob_store, settings.blob_url, settings.s3_endpoint)
    if tracing is not None and tracer is not None:
        blobs = _traced(blobs, tracing, tracer)
    database = await run_in_threadpool(open_database, settings.database_url, tracer)
    access = Access(database)
    ring = KeyRing(
        access, secret_of(settings.admin_key), settings.allow_anonymous, takes_tokens=settings.oidc_issuer is not None
    )
    await run_in_threadpool(ring.refresh)
    require_guarded(settings.host, ring)
    if ring.is_open:
        # Only on this machine's own addresses: anywhere else it has refused to start.
        log.info("There are no keys: every user of this machine may change everything.")
    usage_store, meter = Usage(database), UsageMeter()
    flusher = UsageFlusher(meter, usage_store, timedelta(days=settings.usage_retention))
    engine = Engine(
        Registry(database, blobs),
        app.state.open_transport(settings, blobs),
        SourcePolicy(settings.model_roots, settings.factories),
        limits_of(settings),
        times_of(settings),
        app.state.redact,
        Observers(tracer or NoOpTracer(), meter),
    )
    engine.add_follower(ring.refresh)
    app.state.teams = teams = Teams(access, engine)
    await run_in_threadpool(teams.refresh)
    engine.add_follower(teams.refresh)
    app.state.engine = engine
    app.state.loras = LoraDirectories(engine.adapters, engine.names, settings.lora_root, settings.max_upload_bytes)
    app.state.key_ring = ring
    app.state.tokens, app.state.identity_provider = _open_identity(settings, ring)
    app.state.refusals = refusals = Refusals(access)
    exchange = LimitExchange(TeamSpending(database), engine.admission.teams).exchange
    bookkeeping = Periodic("bookkeeping of access", BOOKKEEPING_S, refusals.flush, ring.flush, exchange)
    app.state.keys = Keys(access, engine.catch_up)
    app.state.drain.give_up = engine.give_up
    app.state.metrics.watch(engine.models.stats, engine.admission.teams.in_flight)
    app.state.usage = UsageReports(usage_store, meter)
    try:
        flusher.start()
        engine.start()
        bookkeeping.start()
        yield
    finally:
        # No grace: the server has waited for its requests before this, and what still runs has lost its caller.
        await run_in_threadpool(engine.stop, 0.0)
        await run_in_threadpool(flusher.stop)
        await run_in_threadpool(app.state.json_reader.close)
        await run_in_threadpool(bookkeeping.stop)
        database.close()
        if tracing is not None:
            await run_in_threadpool(tracing.shutdown)


def _traced(blobs: BlobStore, tracing: "TracerProvider", tracer: Tracer) -> BlobStore:
    from service.tracing import TracedBlobs, start_export

    start_export(tracing)
    return TracedBlobs(blobs, tracer)


def _open_identity(settings: Settings, ring: KeyRing) -> "tuple[Tokens | None, IdentityProvider | None]":
    if settings.oidc_issuer is None:
        return None, None
    # Only here, because cryptography is a large library that keys don't need.
    from service.identity import open_identity_provider, open_tokens

    return open_tokens(settings, ring, settings.oidc_audience), open_identity_provider(settings, ring)


def _tracing() -> "TracerProvider | None":
    if not is_traced(os.environ):
        return None
    from service.tracing import open_tracing

    return open_tracing()


def _operation_id(route: APIRoute) -> str:
    return route.name


def _document(app: FastAPI) -> dict[str, object]:
    app.openapi_schema = app.openapi_schema or build_document(app)
    return app.openapi_schema
