"""What callers ask of the engine and what it tells them: frozen values, no behaviour, nothing of HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from models_registry.adapters.cancellation import Stopped, never
from models_registry.adapters.recipe import Recipe
from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import Adapter, AdapterVersion, Architecture, BaseModel

AdapterChoice: TypeAlias = str | Mapping[str, float] | None
"""A reference (`tone`, `tone@3`, `tone@prod`), None for the base, or a composition `{reference: weight}`."""

AdapterChoices: TypeAlias = AdapterChoice | tuple[AdapterChoice, ...]
"""One choice for every row, or a tuple with one choice per row."""

Digest: TypeAlias = str | Mapping[str, str] | None
"""`"sha256:…"` of the version that an `AdapterChoice` named, None for the base, or a digest per composed reference."""

ModelState: TypeAlias = Literal["loading", "ready", "failed", "unloaded"]
Residency: TypeAlias = Literal["stored", "staged", "resident"]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the operator allows. `device` is `auto`, `cpu`, `cuda`, `cuda:1`.

    `max_resident_bytes` bounds the adapters of one hosted model (None: a quarter of its device's memory);
    `max_batch_rows` bounds the rows of several requests that share a forward, `max_queue` the requests that wait for
    one hosted model; `max_adapter_bytes` an adapter with initial weights; `max_merged_bytes` the copies of one hosted
    model's layers that have a hot adapter in their weights (None: an eighth of `max_resident_bytes`; 0: none);
    `max_request_rows` the rows of one request.
    """

    device: str = "auto"
    max_resident_bytes: int | None = None
    max_batch_rows: int = 64
    max_queue: int = 1024
    max_adapter_bytes: int = 1 << 30
    max_merged_bytes: int | None = None
    max_request_rows: int = 4096


# ---- inference --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One call. `outputs` keeps only these of the model's outputs (None: all, of texts what the task gives by default).
    `parameters` asks for text generation; `chat` has texts be turns of a chat, or not (None: where they are continued
    and the model has a template). `deadline` bounds the wait in the queue, in `time.monotonic()` seconds.
    """

    model: str
    inputs: Inputs
    adapters: AdapterChoices = None
    outputs: tuple[str, ...] | None = None
    parameters: Mapping[str, Any] | None = None
    deadline: float | None = None
    chat: bool | None = None


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """`adapter` and `digest` name the exact versions that answered, one entry per row (one in all without rows).

    Its time went into waiting (its inputs' reading included), into its adapters' coming, into the forward that it
    shared.
    """

    model: str
    adapter: tuple[AdapterChoice, ...]
    digest: tuple[Digest, ...]
    outputs: Mapping[str, OutputValue]
    queue_ms: float
    load_ms: float
    forward_ms: float


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
    accept: Accepted = STRICT
    stopped: Stopped = never


@dataclass(frozen=True, slots=True)
class NewComposition:
    """An adapter to create from others of the same model: `adapters` are `{reference: weight}`; `stopped` as in
    `NewAdapter`."""

    model: str
    name: str
    adapters: Mapping[str, float]
    recipe: Recipe
    stopped: Stopped = never


@dataclass(frozen=True, slots=True)
class CreatedAdapter:
    """`unchanged`: the version was there before, with the same config and weights."""

    version: AdapterVersion
    warnings: tuple[str, ...]
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class VersionResidency:
    """Where one version's weights are. `bytes` is what they take in memory, `in_flight` counts the requests that use
    it; its last use, and how long it was last read and prepared, are known since its base model was loaded."""

    tier: Residency = "stored"
    pinned: bool = False
    in_flight: int = 0
    bytes: int = 0
    last_used_at: datetime | None = None
    load_s: float | None = None


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """`residency` is that of each version number; `silent` are the versions that the last forward which was to follow
    them never reached."""

    adapter: Adapter
    residency: Mapping[int, VersionResidency]
    silent: frozenset[int] = frozenset()

    @property
    def in_flight(self) -> int:
        """The requests that use a version of it; one that uses two counts twice."""
        return sum(version.in_flight for version in self.residency.values())


# ---- base models and the whole ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """`reason` says why a build failed. `dtype`, `device` and `task` are those of the hosted module, or as asked for
    while it is not in memory; `resident` lists the references of the adapters that are in memory with it. `error` is
    the `reason` in its parts. `warnings` are about what its owner gave, all there will be once it `is_probed`."""

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


@dataclass(frozen=True, slots=True)
class ModelModules:
    """`entered` are the modules that a small forward was seen to call, None while nothing has shown it; `bypassed`
    those whose weights it was seen to read without calling them."""

    architecture: Architecture
    entered: frozenset[str] | None
    bypassed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Readiness:
    """`ready` once the database answers and nothing is loading; `reasons` say why not, `degraded` what has failed."""

    ready: bool
    reasons: tuple[str, ...]
    degraded: tuple[str, ...]
