"""What watches inferences while they are answered, without changing them."""

from dataclasses import dataclass, field

from opentelemetry.trace import NoOpTracer, Tracer

from service.front.services.usage_meter import UsageMeter


@dataclass(frozen=True, slots=True)
class Observers:
    """`tracer` makes their spans, `meter` counts what they use."""

    tracer: Tracer = field(default_factory=NoOpTracer)
    meter: UsageMeter = field(default_factory=UsageMeter)
