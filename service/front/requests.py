"""What callers ask of the engine and what it answers: frozen values, no behaviour, nothing of HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal, TypeAlias

from models_registry.adapters.cancellation import Stopped, never
from models_registry.adapters.merge_options import MergeOptions
from models_registry.arithmetic import Arithmetic
from models_registry.call_forms import CallForm
from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import Adapter, AdapterVersion, Architecture, BaseModel
from service.protocol.stats import HostStats, ProcessStats, ReplicaStats
from service.protocol.texts import WrittenText
from service.protocol.types import VersionResidency

AdapterChoice: TypeAlias = str | Mapping[str, float] | None
"""A reference (`tone`, `tone@3`, `tone@prod`), None for the base, or a composition `{reference: weight}`."""

AdapterChoices: TypeAlias = AdapterChoice | tuple[AdapterChoice, ...]
"""One choice for every row, or a tuple with one choice per row."""

Digest: TypeAlias = str | Mapping[str, str] | None
"""`"sha256:…"` of the version that an `AdapterChoice` named, None for the base, or a digest per composed reference."""

BuildStep: TypeAlias = Literal["waiting", "starting", "building", "probing"]
ModelState: TypeAlias = Literal["loading", "ready", "restarting", "failed", "unloaded"]


# ---- inference --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One call. `outputs` keeps only these of the model's outputs (None: all, of texts what the task gives by default).
    `parameters` asks for text generation; `chat` has texts be turns of a chat, or not (None: where they are continued
    and the model has a template). `deadline` bounds the wait for the answer, in `time.monotonic()` seconds. Requests
    with the same `routing_key` get the same version of an alias that splits; by default each has its own.
    """

    model: str
    inputs: Inputs
    adapters: AdapterChoices = None
    outputs: tuple[str, ...] | None = None
    parameters: Mapping[str, Any] | None = None
    deadline: float | None = None
    chat: bool | None = None
    routing_key: str = field(default_factory=token_hex)

    def routed_by(self, routing_key: str | None) -> "InferRequest":
        """With the key that its caller gave, if any."""
        return self if routing_key is None else replace(self, routing_key=routing_key)


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """`adapter` and `digest` name the exact versions that answered, one entry per row (one in all without rows).
    `texts` say how each text ended that was written; calls in them have the `call_form`.

    Its time was spent on the way to the model's host and back, on waiting there (its inputs' reading included), on
    loading its adapters, and on the forward that it shared.
    """

    model: str
    adapter: tuple[AdapterChoice, ...]
    digest: tuple[Digest, ...]
    outputs: Mapping[str, OutputValue]
    queue_ms: float
    load_ms: float
    forward_ms: float
    hop_ms: float = 0.0
    texts: tuple[WrittenText, ...] = ()
    call_form: CallForm = "hermes"


# ---- adapters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a caller takes in a config that is refused otherwise: keys that are `unknown` here, and with `unmatched` the
    names of what the base model lacks."""

    unknown: tuple[str, ...] = ()
    unmatched: bool = False


STRICT: Final = Accepted()


@dataclass(frozen=True, slots=True)
class NewAdapter:
    """An adapter to create: `config` as adapter_config.json holds it, `weights` as safetensors, in memory or
    in a file (None: initial ones). Once `stopped` says so, nobody waits for it any more, and it is not created."""

    model: str
    name: str
    config: Mapping[str, Any]
    weights: bytes | Path | None = None
    seed: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    accept: Accepted = STRICT
    stopped: Stopped = never


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to add: `weights` as safetensors, in memory or in a file; `config` None keeps the newest's own."""

    weights: bytes | Path
    config: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    accept: Accepted = STRICT


@dataclass(frozen=True, slots=True)
class NewComposition:
    """An adapter to create from others of the same model: `adapters` are `{reference: weight}`; `stopped` as in
    `NewAdapter`."""

    model: str
    name: str
    adapters: Mapping[str, float]
    options: MergeOptions
    stopped: Stopped = never


@dataclass(frozen=True, slots=True)
class CreatedAdapter:
    """`unchanged`: the version was there before, with the same config and weights."""

    version: AdapterVersion
    warnings: tuple[str, ...]
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """`residency` is that of each version number; `inactive` are the versions that the last forward which was to follow
    them never reached."""

    adapter: Adapter
    residency: Mapping[int, VersionResidency]
    inactive: frozenset[int] = frozenset()

    @property
    def in_flight(self) -> int:
        """The requests that use a version of it; one that uses two counts twice."""
        return sum(version.in_flight for version in self.residency.values())


# ---- base models and the whole ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """`reason` says why a build failed. `dtype`, `device` and `task` are those of the hosted module, or as asked for
    while it is not in memory; `resident` lists the references of the adapters that are in memory with it. `error` is
    the `reason` in its parts. `warnings` are about what its owner gave, all there will be once it `is_probed`.
    `arithmetic` is known of a hosted module only, `replicas` where there are several machines."""

    base: BaseModel
    state: ModelState
    reason: str | None
    dtype: str | None
    device: str | None
    task: str | None
    resident: tuple[str, ...]
    error: Invalid | None = None
    warnings: tuple[str, ...] = ()
    is_probed: bool = True
    progress: "ModelProgress | None" = None
    arithmetic: Arithmetic | None = None
    replicas: tuple[ReplicaStats, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """What a build is at, and the seconds since it was asked for. `fraction` is how much of it is done, judging by what
    the last one took; None where there was none. A model that is `probing` is ready."""

    step: BuildStep
    seconds: float
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class HostReport:
    """Of the process that runs a model; `process` is None where there is none of its own. `busy_s` is how long its
    present forward runs; `restarts` how often it died since the model was loaded, `last_death` how at last."""

    state: ModelState
    process: ProcessStats | None
    busy_s: float | None
    restarts: int
    last_death: str | None


@dataclass(frozen=True, slots=True)
class ModelModules:
    """`entered` are the modules that a small forward was seen to call, None while nothing has shown it; `bypassed`
    those whose weights it was seen to read without calling them."""

    architecture: Architecture
    entered: frozenset[str] | None
    bypassed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Readiness:
    """`ready` once the database answers and each model that was ready when the service last ran has been ready or has
    failed, or the grace has passed; `reasons` say why not, `degraded` what has failed or is loading meanwhile.
    `parts` say how each part is: `ok`, or what is wrong with it."""

    ready: bool
    reasons: tuple[str, ...]
    degraded: tuple[str, ...]
    parts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelStats:
    """`versions` are those of its adapters in the registry, `expired` the requests whose deadline passed; `hosted` is
    None while the model is not in memory, `process` where it has none of its own; `restarts` counts its deaths."""

    state: ModelState
    versions: int
    hosted: HostStats | None
    expired: int = 0
    process: ProcessStats | None = None
    restarts: int = 0

    @property
    def stored(self) -> int:
        """Versions that are only in the blob store."""
        in_memory = self.hosted.adapters.staged + self.hosted.adapters.resident if self.hosted else 0
        return max(0, self.versions - in_memory)  # one that was removed stays in memory while requests use it
