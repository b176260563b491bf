"""The values that a front and a host hand each other. Frozen, without behaviour of their own; nothing of HTTP."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from torch import Tensor

from models_registry.arithmetic import Arithmetic
from models_registry.call_forms import CallForm
from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import DEFAULT_TEAM, AdapterVersion, Architecture, BaseModel, Fault
from service.protocol.stats import HostStats
from service.protocol.texts import WrittenText

Residency: TypeAlias = Literal["stored", "staged", "resident"]


# ---- how a host is built ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What the operator allows. `device` is `auto`, `cpu`, `cuda`, `cuda:1`.

    `max_resident_bytes` bounds the adapters of one hosted model (None: a quarter of its device's memory);
    `max_batch_rows` bounds the rows of several requests that share a forward, `max_queue` the requests that wait for
    one hosted model; `max_adapter_bytes` an adapter with initial weights; `max_merged_bytes` the copies of one hosted
    model's layers that have a hot adapter in their weights (None: an eighth of `max_resident_bytes`; 0: none);
    `max_request_rows` the rows of one request; `max_cache_bytes` the keys and values of one hosted model's texts (None:
    a quarter of its device's memory).
    """

    device: str = "auto"
    max_resident_bytes: int | None = None
    max_batch_rows: int = 64
    max_queue: int = 1024
    max_adapter_bytes: int = 1 << 30
    max_merged_bytes: int | None = None
    max_request_rows: int = 4096
    max_cache_bytes: int | None = None

    def require_few_rows(self, count: int) -> None:
        """Raises `Invalid` for more rows than a request may have."""
        if count > self.max_request_rows:
            message = f"The request has {count} rows; at most {self.max_request_rows} are taken. Send several."
            raise Invalid(message, [Fault(("inputs",), message)])


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What a host is to build, and what the operator allows it: directories that models lie under, factories."""

    base: BaseModel
    model_roots: tuple[str, ...]
    factories: tuple[str, ...]
    limits: HostLimits = HostLimits()


@dataclass(frozen=True, slots=True)
class Built:
    """A base model in memory. `dtype` is that of its first floating parameter as it is stored, None where it has none;
    `arithmetic` is what it computes in, `call_form` how it writes calls of tools."""

    architecture: Architecture
    dtype: str | None
    device: str
    task: str | None
    arithmetic: Arithmetic
    call_form: CallForm = "hermes"


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What small forwards have shown: modules that are `entered`, and those whose weights are read without calling
    them. Both are empty while nothing has shown it. `warnings` are about what the model's owner gave."""

    entered: frozenset[str] = frozenset()
    bypassed: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


# ---- inference --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """An adapter version of a row, with its weight. `key` is the version's."""

    version: AdapterVersion = field(compare=False)
    key: str
    weight: float


@dataclass(frozen=True, slots=True)
class Selection:
    """One row's adapters. No parts is the base; several parts, or one with another weight than 1, a composition."""

    parts: tuple[Part, ...] = ()
    composed: bool = field(default=False, compare=False)

    @property
    def composition(self) -> Mapping[str, float]:
        """What the live module routes by: key -> weight."""
        return {part.key: part.weight for part in self.parts}


BASE: Final = Selection()


def distinct_versions(selections: Iterable[Selection]) -> tuple[AdapterVersion, ...]:
    """Every version that the selections name, once."""
    return tuple({part.key: part.version for selection in selections for part in selection.parts}.values())


@dataclass(frozen=True, slots=True)
class InferCall:
    """One request, its references resolved. `outputs` keeps only these of the model's outputs (None: all, of texts what
    the task gives by default). `parameters` asks for text generation; `chat` has texts be turns of a chat, or not
    (None: where they are continued and the model has a template). `per_row` says that there was a list of adapters,
    which must have an entry for each row. `remaining_s` is the time until nobody waits any more. `alone`: it shares no
    forward, because it may end its host. Turns are taken by `team`, the caller's.
    """

    inputs: Inputs
    outputs: tuple[str, ...] | None = None
    parameters: Mapping[str, Any] | None = None
    chat: bool | None = None
    per_row: bool = False
    remaining_s: float | None = None
    alone: bool = False
    team: str = DEFAULT_TEAM


@dataclass(frozen=True, slots=True)
class Used:
    """What a request's rows of one selection took. `cached_tokens` are some of the `prompt_tokens`: of texts, and of
    rows of `input_ids` those that their mask shows. `forward_s` is their share of the forwards that they were in: equal
    for each row of a forward, because each has as many places in it."""

    rows: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    forward_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HostAnswer:
    """`selections` made the outputs: one per row, or one where they were returned whole. `texts` says of each text that
    was written how it ended; `used` what each distinct selection took, in the order of their first rows.

    A request that was cancelled while its texts were written is answered by what there was of them, so that `used`
    says what they took. Its time was spent on waiting (its inputs' reading included), on loading its adapters, and on
    the forward that it shared."""

    selections: tuple[Selection, ...]
    outputs: Mapping[str, OutputValue]
    queue_ms: float
    load_ms: float
    forward_ms: float
    texts: tuple[WrittenText, ...] = ()
    used: tuple[Used, ...] = ()


# ---- adapters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FreshWeights:
    """Initial weights to make: `config` as a caller sent it, the same tensors for the same `seed`. `unknown` keys and,
    with `unmatched`, names that the base model lacks are accepted. `labels` are the classes of an absent head."""

    config: Mapping[str, Any]
    seed: int | None
    unknown: tuple[str, ...] = ()
    unmatched: bool = False
    labels: int | None = None


Tensors: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class MergeOrder:
    """Stored versions to merge, each with its weight; `options` are `MergeOptions`' fields."""

    parts: tuple[tuple[AdapterVersion, float], ...]
    architecture: Architecture
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Merged:
    """A new adapter's config, as adapter_config.json holds it, with its tensors and what its maker should know."""

    config: Mapping[str, Any]
    warnings: tuple[str, ...]
    tensors: Tensors


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
class HostStatus:
    """`resident` are the references of the adapters in memory, least recently used first; `versions` those that were
    asked for, by key; `inactive` the keys of those that the last forward which was to follow them never reached.
    `warnings` are about what the model's owner gave, all there will be once it `is_probed`."""

    resident: tuple[str, ...]
    versions: Mapping[str, VersionResidency]
    inactive: frozenset[str]
    warnings: tuple[str, ...]
    is_probed: bool
    stats: HostStats


# ---- a host's life ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Work:
    """What a model's thread is at, and `since` when (`time.monotonic()`): these requests' forward; without ids, some
    other work."""

    ids: tuple[int, ...]
    since: float


@dataclass(frozen=True, slots=True)
class HostLoss:
    """Why a host ended without being asked to: a signal's name, an exit code, or that it was ended for being stuck.
    `running` are the ids of the requests whose forward it ran in that moment. `is_death`: it was its own end, and not
    that of the machines that it was on."""

    reason: str
    running: tuple[int, ...] = ()
    is_death: bool = True
