"""What Prometheus reads of the base models, collected at every scrape.

Labels are models, their replicas, states and tiers, of which there are few; never adapters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TypeAlias, get_args

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.front.requests import ModelState, ModelStats
from service.protocol.stats import BOUNDS, HostStats, ReplicaStats, SizeStats

Watch: TypeAlias = Callable[[], Mapping[str, ModelStats]]
"""Gives each model's stats."""

_GAUGES: Mapping[str, tuple[str, Callable[[HostStats], int]]] = {
    "waiting_requests": ("Requests that wait for the model.", lambda f: f.queue.requests),
    "waiting_rows": ("Rows of the requests that wait for the model.", lambda f: f.queue.rows),
    "pinned_adapter_versions": ("Adapter versions that stay in memory.", lambda f: f.adapters.pinned),
    "adapter_bytes": ("What adapters take in memory.", lambda f: f.adapters.bytes),
    "adapter_limit_bytes": ("What adapters may take in memory.", lambda f: f.adapters.max_bytes),
    "merged_bytes": ("What layers' copies with hot adapters in them take.", lambda f: f.merged_bytes),
    "running_texts": ("Texts that are written token by token.", lambda f: f.texts.running),
    "cache_bytes": ("What keys and values of texts take.", lambda f: f.texts.cache_bytes),
    "cache_limit_bytes": ("What keys and values of texts may take.", lambda f: f.texts.max_cache_bytes),
    "copied_bytes": ("What copies of running texts' adapters take.", lambda f: f.texts.copied_bytes),
    "copied_limit_bytes": ("What copies of running texts' adapters may take.", lambda f: f.texts.max_copied_bytes),
    "merged_limit_bytes": ("What layers' copies with hot adapters in them may take.", lambda f: f.max_merged_bytes),
}
_COUNTERS: Mapping[str, tuple[str, Callable[[HostStats], int]]] = {
    "adapter_loads": ("Adapter versions that were loaded into memory.", lambda f: f.adapters.loads),
    "adapter_evictions": ("Adapter versions that were evicted for others.", lambda f: f.adapters.evictions),
    "adapter_load_failures": ("Adapter versions that failed to load.", lambda f: f.adapters.failures),
    "warm_requests": ("Requests that found their adapters in memory.", lambda f: f.adapters.warm_requests),
    "cold_requests": ("Requests that waited for an adapter to be loaded.", lambda f: f.adapters.cold_requests),
    "recomputed_texts": ("How often a text gave its memory back, to be computed again.", lambda f: f.texts.recomputed),
    "generated_tokens": ("Tokens that were written, step by step.", lambda f: f.texts.tokens),
    "prompt_tokens": ("Tokens of the texts that were begun.", lambda f: f.texts.prompt_tokens),
    "cached_prompt_tokens": ("Of these, the tokens that were in memory already.", lambda f: f.texts.cached_tokens),
    "queue_full": ("Requests refused because too many waited (429).", lambda f: f.queue.refused),
}
_OF_REPLICAS: Mapping[str, tuple[str, Callable[[ReplicaStats], float]]] = {
    "replica_rss_bytes": ("Memory of a replica's process.", lambda r: r.rss_bytes),
    "replica_waiting_requests": ("Requests that wait at a replica.", lambda r: r.waiting),
    "replica_running_texts": ("Texts that a replica writes.", lambda r: r.texts),
    "replica_resident_adapter_versions": ("Adapter versions in a replica's memory.", lambda r: r.resident),
    "replica_adapter_bytes": ("What adapters take in a replica's memory.", lambda r: r.bytes),
}
_HISTOGRAMS: Mapping[str, tuple[str, Callable[[HostStats], SizeStats]]] = {
    "forward_rows": ("Rows that shared a forward.", lambda f: f.rows_per_forward),
    "forward_adapters": ("Adapter versions that shared a forward.", lambda f: f.adapters_per_forward),
}


class ModelMetrics(Collector):
    """Counters begin again with 0 each time a model is loaded."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def collect(self) -> Iterable[Metric]:
        models = self._watch()
        yield from _of_all(models)
        hosted = {model: figures.hosted for model, figures in models.items() if figures.hosted}
        yield from _of_hosted(hosted)
        yield from _of_replicas(hosted)


def _of_all(models: Mapping[str, ModelStats]) -> Iterator[Metric]:
    states = GaugeMetricFamily("adapter_service_models", "Base models, by state.", labels=["state"])
    for state in get_args(ModelState):
        states.add_metric([state], sum(figures.state == state for figures in models.values()))
    yield states
    tiers = GaugeMetricFamily(
        "adapter_service_adapter_versions", "Adapter versions, by where they are.", labels=["model", "tier"]
    )
    for model, figures in models.items():
        tiers.add_metric([model, "stored"], figures.stored)
        tiers.add_metric([model, "staged"], figures.hosted.adapters.staged if figures.hosted else 0)
        tiers.add_metric([model, "resident"], figures.hosted.adapters.resident if figures.hosted else 0)
    yield tiers
    expired = CounterMetricFamily(
        "adapter_service_deadlines_passed", "Requests whose deadline passed (504).", labels=["model"]
    )
    for model, figures in models.items():
        if figures.hosted:
            expired.add_metric([model], figures.expired)
    yield expired
    yield from _of_processes({model: figures for model, figures in models.items() if figures.process})


def _of_processes(models: Mapping[str, ModelStats]) -> Iterator[Metric]:
    memory = GaugeMetricFamily("adapter_service_host_rss_bytes", "Memory of the model's process.", labels=["model"])
    age = GaugeMetricFamily("adapter_service_host_age_seconds", "Since the model's process began.", labels=["model"])
    restarts = CounterMetricFamily("adapter_service_host_restarts", "Deaths of the model's process.", labels=["model"])
    for model, figures in models.items():
        if figures.process is not None:
            memory.add_metric([model], figures.process.rss_bytes)
            age.add_metric([model], figures.process.age_s)
            restarts.add_metric([model], figures.restarts)
    yield from (memory, age, restarts)


def _of_replicas(models: Mapping[str, HostStats]) -> Iterator[Metric]:
    for name, (what, figure) in _OF_REPLICAS.items():
        gauge = GaugeMetricFamily(f"adapter_service_{name}", what, labels=["model", "replica"])
        for model, figures in models.items():
            for replica in figures.replicas:
                gauge.add_metric([model, replica.name], figure(replica))
        yield gauge


def _of_hosted(models: Mapping[str, HostStats]) -> Iterator[Metric]:
    for name, (what, figure) in _GAUGES.items():
        gauge = GaugeMetricFamily(f"adapter_service_{name}", what, labels=["model"])
        for model, figures in models.items():
            gauge.add_metric([model], figure(figures))
        yield gauge
    for name, (what, figure) in _COUNTERS.items():
        counter = CounterMetricFamily(f"adapter_service_{name}", what, labels=["model"])
        for model, figures in models.items():
            counter.add_metric([model], figure(figures))
        yield counter
    for name, (what, sizes) in _HISTOGRAMS.items():
        histogram = HistogramMetricFamily(f"adapter_service_{name}", what, labels=["model"])
        for model, figures in models.items():
            seen = sizes(figures)
            limits = (*(str(float(bound)) for bound in BOUNDS), "+Inf")
            histogram.add_metric([model], list(zip(limits, accumulate(seen.counts), strict=True)), seen.sum)
        yield histogram
