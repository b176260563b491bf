"""Which requests are traced, and what FastAPI records of them."""

from collections.abc import Mapping

from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import TracerProvider


def is_traced(environment: Mapping[str, str]) -> bool:
    """Whether the operator named a collector for traces, and didn't switch them off."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    named = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return bool(named) and not off and environment.get("OTEL_TRACES_EXPORTER", "otlp") != "none"


def telemetry_of(provider: TracerProvider | None) -> TelemetryConfig:
    """What FastAPI records by itself: a span for each request but those of probes and scrapes. Our metrics and our log
    are elsewhere, and its events would quote what callers send."""
    return TelemetryConfig(
        tracer_provider=provider,
        tracing=provider is not None,
        metrics=False,
        logs=False,
        operation_spans=False,
        auto_configure=False,
        exclude=lambda scope: scope["path"].endswith(("/metrics", "/health/live", "/health/ready")),
    )
