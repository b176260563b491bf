"""What Prometheus scrapes: the requests, the inferences, and the base models, which are in model_metrics.py. One
registry per app, none global."""

from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.front.api.metrics.model_metrics import ModelMetrics, Watch
from service.front.api.metrics.team_metrics import TeamMetrics, TeamSaturation, WatchTeams
from service.front.requests import InferAnswer

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Bounds of the histograms' buckets: texts and large files take minutes."""
TEAM = "adapter_service.team"
"""Where the scope has the team of a caller who was let in."""
FOLLOWS = "adapter_service.follows"
"""In the scope of a request whose answer goes on as long as its caller likes: it took the time to its head."""


class Metrics:
    """The service's own counters. `text` is what a scrape returns."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "adapter_service_requests",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._failed_logins = Counter(
            "adapter_service_failed_logins", "Requests whose key or token was not valid.", registry=self._registry
        )
        self._request_seconds = Histogram(
            "adapter_service_request_seconds",
            "Time to answer.",
            ("method", "route"),
            registry=self._registry,
            buckets=SECONDS,
        )
        self._infer_seconds = Histogram(
            "adapter_service_infer_seconds",
            "Seconds of inferences, by what they were spent on: waiting in the queue, the forward.",
            ("model", "phase"),
            registry=self._registry,
            buckets=SECONDS,
        )

        self._teams = TeamMetrics(self._registry)

    def watch(self, models: Watch, teams: WatchTeams) -> None:
        """Ask both at every scrape."""
        self._registry.register(ModelMetrics(models))
        self._registry.register(TeamSaturation(teams))

    def count_request(self, method: str, route: str, status: int, seconds: float, team: str | None) -> None:
        """`team` is the caller's; None for a stranger, and where no caller is asked for."""
        self._requests.labels(method, route, status).inc()
        self._request_seconds.labels(method, route).observe(seconds)
        if team is not None:
            self._teams.count_request(team, status, seconds)

    def count_failed_login(self) -> None:
        self._failed_logins.inc()

    def count_inference(self, answer: InferAnswer) -> None:
        self._infer_seconds.labels(answer.model, "queue").observe(answer.queue_ms / 1000)
        self._infer_seconds.labels(answer.model, "forward").observe(answer.forward_ms / 1000)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class CountRequests:
    """Counts every request under its route's template, never its address, of which there may be any number."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the server answers when an error gets past everything
        started = perf_counter()
        head = started

        async def watch(message: Message) -> None:
            nonlocal status, head
            if message["type"] == "http.response.start":
                status, head = message["status"], perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = scope["route"].path if "route" in scope else "none"
            ended = head if FOLLOWS in scope else perf_counter()
            self._metrics.count_request(scope["method"], route, status, ended - started, scope.get(TEAM))
