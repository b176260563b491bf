"""The frozen values that the rooms hand each other. Imports nothing of ours, so that every room may import it.

Four families: what a live torch module looks like (`Architecture`), what the registry knows (`BaseModel`, `Adapter`,
`AdapterVersion`), what is asked of it once (`Once`), and what is wrong with an input (`Fault`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, TypedDict

LayerKind: TypeAlias = Literal["linear", "hf_conv1d", "embedding", "conv1d", "conv2d", "conv3d", "attention"]
Location: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input: where it is (`("weights", "linear.lora_A.weight")`) and what to do."""

    loc: Location
    message: str


# ---- what a live module looks like ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """One parameter of the base model. `digest` is the sha256 (hex) of its bytes, row-major, in `dtype`."""

    shape: tuple[int, ...]
    dtype: str
    digest: str


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """One module of a base model, as adapters see it.

    `kind` is None where no method can act; `refusal` then says why in words, if there is more to say than the type.
    `in_features` and `out_features` are features, channels, or for an embedding its rows and its width.
    `kernel_size` and `groups` are a convolution's. `parameters` and `buffers` (the persistent ones) are the module's
    own, by their short names. An `owner` is the attention module that reads this one's weights without calling it.
    """

    name: str
    type: str
    kind: LayerKind | None
    in_features: int = 0
    out_features: int = 0
    kernel_size: tuple[int, ...] = ()
    groups: int = 1
    dtype: str = "float32"
    refusal: str | None = None
    owner: str | None = None
    parameters: Mapping[str, ParameterInfo] = field(default_factory=dict[str, ParameterInfo])
    buffers: Mapping[str, ParameterInfo] = field(default_factory=dict[str, ParameterInfo])


@dataclass(frozen=True, slots=True)
class AbsentHead:
    """The weights of a classification head that a base model's files lack, and that each adapter brings.

    `parameters` are their names, and `sized` those of them that have a row for each class. `labels` is the number of
    classes where somebody said it (None: the first adapter's), `built_labels` the one that the module was built with.
    """

    parameters: tuple[str, ...]
    sized: tuple[str, ...]
    labels: int | None
    built_labels: int

    @property
    def modules(self) -> tuple[str, ...]:
        """By the names that `modules_to_save` has for them."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.parameters))


@dataclass(frozen=True, slots=True)
class Renaming:
    r"""What transformers calls otherwise than an older version of it did: behind the first of `scopes` that a name
    begins with, the first match of the expression `pattern` becomes `replacement`, whose `\1` is what it captured."""

    pattern: str
    replacement: str
    scopes: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class FusedLayers:
    """Layers that older versions of transformers had, one for each expert, and that are one `parameter` now. The
    expression `pattern` is found in their weights' names."""

    pattern: str
    parameter: str


@dataclass(frozen=True, slots=True)
class Architecture:
    """A base model's module list, in `named_modules()` order, and the facts by which PEFT chooses targets.

    `fingerprint` is the sha256 (hex) over every parameter's and buffer's name, shape, dtype and bytes; it, `parameters`
    and `bytes` leave out an `absent_head`, which is made up anew by each build.
    `tied_embeddings` are the modules that share the input embedding's weight. `renamings` (in their order) and
    `fused_layers` say how files of older versions of transformers are read.
    """

    modules: tuple[ModuleInfo, ...]
    fingerprint: str
    parameters: int
    bytes: int
    model_type: str | None = None
    input_embedding: str | None = None
    output_embedding: str | None = None
    tied_embeddings: tuple[str, ...] = ()
    classification_head: str | None = None
    absent_head: AbsentHead | None = None
    renamings: tuple[Renaming, ...] = ()
    fused_layers: tuple[FusedLayers, ...] = ()


# ---- what the registry knows ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HuggingFaceSource:
    """A transformers directory (safetensors), or a GGUF `file` in it."""

    path: str
    file: str | None = None
    kind: Literal["huggingface"] = "huggingface"


@dataclass(frozen=True, slots=True)
class PythonSource:
    """An allow-listed `"package.module:callable"` that returns an `nn.Module` when called with `kwargs`."""

    factory: str
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    kind: Literal["python"] = "python"


Source: TypeAlias = HuggingFaceSource | PythonSource
Visibility: TypeAlias = Literal["private", "shared"]


@dataclass(frozen=True, slots=True)
class ReplicaResources:
    """How many replicas a base model has on several machines, and what each is given: cores and GPUs, which may be
    fractions, and bytes of memory. None: what the service gives all of them."""

    min_replicas: int = 1
    max_replicas: int = 1
    cpus: float | None = None
    gpus: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A registered base model. `hosted` is what its owner wants (in memory or not), and survives a restart.

    `dtype`, `device`, `task` and `num_labels` are as asked for: None means the source's own, the service's, the
    architecture's, the config's.
    `fingerprint`, `parameters` and `bytes` are None until it was built once; `failure` is the last build's reason.
    `teams` are those that may use it; None: all. `resources` None: those of the service.
    """

    id: str
    source: Source
    dtype: str | None
    device: str | None
    task: str | None
    example_inputs: Mapping[str, Any] | None
    hosted: bool
    created_at: datetime
    fingerprint: str | None = None
    parameters: int | None = None
    bytes: int | None = None
    failure: str | None = None
    num_labels: int | None = None
    teams: tuple[str, ...] | None = None
    resources: ReplicaResources | None = None


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """An immutable config with its weights. `digest` is the sha256 (hex) of the blob; `config` as PEFT writes it.

    `parameters` counts the adapter's numbers, `bytes` the blob's; `targets` are module names of the base model, whose
    weights have the `fingerprint`. `created_by` is the id of the key that made it. Only two things may change: `labels`
    are its team's words for finding it; `damaged` says that the blob's bytes were found to be wrong or gone since.
    """

    adapter: str
    model: str
    version: int
    method: str
    config: Mapping[str, Any]
    digest: str
    parameters: int
    bytes: int
    targets: tuple[str, ...]
    metadata: Mapping[str, Any]
    fingerprint: str
    created_at: datetime
    created_by: str | None = None
    damaged: bool = False
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def reference(self) -> str:
        return f"{self.adapter}@{self.version}"

    @property
    def key(self) -> str:
        """Names this version for good. A reference may later name other weights or another config, after its adapter
        was deleted and created anew; this can't."""
        return f"{self.reference} sha256:{self.digest} {self.created_at.isoformat()}"


@dataclass(frozen=True, slots=True)
class Rollout:
    """How an alias divides its requests. `shares` of the versions add up to 1. The `shadow_share` of the requests is
    run on the version `shadow` too, for nobody but the comparison."""

    shares: Mapping[int, float]
    shadow: int | None = None
    shadow_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Adapter:
    """A name on a base model, its versions in ascending order, and the movable names of some of them.

    `rollouts` are those of aliases that name several versions or have a shadow; in `aliases` these point to the version
    with the greatest share. `description`, `owner` and `labels` are its team's own words. Other teams see it only where
    it is `shared`.
    """

    name: str
    model: str
    created_at: datetime
    versions: tuple[AdapterVersion, ...]
    aliases: Mapping[str, int] = field(default_factory=dict[str, int])
    visibility: Visibility = "private"
    description: str | None = None
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    rollouts: Mapping[str, Rollout] = field(default_factory=dict[str, Rollout])

    @property
    def newest(self) -> AdapterVersion:
        return self.versions[-1]

    def aliases_of(self, number: int) -> tuple[str, ...]:
        """Those that point to the version of that number, alone or with others, in order."""
        named = (alias for alias, rollout in self.rollouts.items() if number in rollout.shares)
        pointing = (alias for alias, pointed in self.aliases.items() if pointed == number)
        return tuple(sorted({*named, *pointing}))


class AdapterWords(TypedDict, total=False):
    """What a team says of its adapter; what is left out stays as it is."""

    visibility: Visibility
    description: str | None
    owner: str | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RegistrySnapshot:
    """Every adapter, by name, at one moment, and the teams that alone may use a base model, by its id. A greater
    `generation` means that something was changed since."""

    generation: int
    adapters: Mapping[str, Adapter]
    restricted: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])


# ---- callers ------------------------------------------------------------------------------------------------------

Role: TypeAlias = Literal["reader", "caller", "publisher", "admin"]
"""Each may do what those before it may."""
DEFAULT_TEAM: Final = "default"
"""Whose callers without a key are, and what was made before there were teams."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of an API key: never the key itself, only the sha256 (hex) of it. `models` and `adapters` are all
    that it may be used for, None where there is no such limit. `last_used_at` may be a minute old."""

    id: str
    digest: str
    name: str
    team: str
    role: Role
    created_at: datetime
    created_by: str | None = None
    models: tuple[str, ...] | None = None
    adapters: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


# ---- what is asked of the registry ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Once:
    """A creation that its caller may repeat without creating twice. `key` is the caller's own name for it;
    `fingerprint` is the sha256 (hex) of the whole request, which shows that another request reuses the key.
    """

    key: str
    fingerprint: str
