"""What Prometheus scrapes: the requests, the inferences, what is in memory. One registry per app, none global."""

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.engine.request import InferAnswer, ModelState

InMemory: TypeAlias = Callable[[], Mapping[str, tuple[ModelState, int]]]
"""Tells each model's state, and how many of its adapters are in memory."""


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
        self._request_seconds = Histogram(
            "adapter_service_request_seconds", "Time to answer.", ("method", "route"), registry=self._registry
        )
        self._infer_seconds = Histogram(
            "adapter_service_infer_seconds",
            "Inferences, by where their time went: waiting in the queue, in the forward.",
            ("model", "phase"),
            registry=self._registry,
        )

    def watch_models(self, in_memory: InMemory) -> None:
        """Ask `in_memory` at every scrape."""
        self._registry.register(_Models(in_memory))

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, status).inc()
        self._request_seconds.labels(method, route).observe(seconds)

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

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = perf_counter()
        try:
            await self._app(scope, receive, watch)
        finally:
            route = scope["route"].path if "route" in scope else "none"
            self._metrics.count_request(scope["method"], route, status, perf_counter() - started)


class _Models(Collector):
    def __init__(self, in_memory: InMemory) -> None:
        self._in_memory = in_memory

    def collect(self) -> Iterable[Metric]:
        states = GaugeMetricFamily("adapter_service_models", "Base models, by state.", labels=["state"])
        resident = GaugeMetricFamily("adapter_service_resident_adapters", "Adapters in memory.", labels=["model"])
        counts = dict.fromkeys(("loading", "ready", "failed", "unloaded"), 0)
        for model, (state, adapters) in self._in_memory().items():
            counts[state] += 1
            resident.add_metric([model], adapters)
        for state, count in counts.items():
            states.add_metric([state], count)
        return states, resident
