"""The fields of PEFT 0.21.2's `LoraConfig`, which its `AdaLoraConfig` inherits, and what of them is refused by name."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from models_registry.adapters.method import FLOAT32_MAX, Indices, MethodConfig, Names
from models_registry.adapters.pattern_keys import PatternKeys

REWRITES_BASE = "rewrites the base weights, which other adapters share"
CONVERTIBLE = (
    f"{REWRITES_BASE}; convert the adapter to plain LoRA first, which PEFT does as it saves it: "
    "save_pretrained(…, path_initial_model_for_weight_conversion=…)"
)
OTHER_VARIANT = "is a variant that is not served; plain LoRA is"

INITIALISATIONS = ("gaussian", "orthogonal", "mica", "eva")
"""Those that leave the base weights as they are: whatever was trained from them is a plain LoRA."""
REWRITING = ("pissa", "olora", "corda", "lora_ga")
TRAINING_ONLY: Mapping[str, str] = {"velora_config": "lora_velora_", "monteclora_config": "lora_monteclora_"}
"""Fields of variants that change training alone, and how the names of their tensors begin, which nothing else uses."""

Rank = Annotated[int, Field(gt=0)]
Alpha = Annotated[int | float, Field(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
Dropout = Annotated[float, Field(ge=0, le=1)]


def _as_mapping(value: object) -> object:
    """PEFT can't load null where it looks for a pattern's keys; it means the same as an empty mapping."""
    return {} if value is None else value


Alphas: TypeAlias = Annotated[dict[str, Alpha], BeforeValidator(_as_mapping)]
Ranks: TypeAlias = Annotated[dict[str, Rank], BeforeValidator(_as_mapping)]
Options: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_as_mapping)]


class LoraFields(MethodConfig):
    """PEFT's `LoraConfig` fields, which its `AdaLoraConfig` inherits."""

    refused: ClassVar[Mapping[str, str]] = {
        "target_parameters": "(adapters on bare parameters) is not served",
        "layer_replication": "changes the base model's own layers, which other adapters share",
        "alora_invocation_tokens": OTHER_VARIANT,
        "use_qalora": OTHER_VARIANT,
        "use_bdlora": OTHER_VARIANT,
        "arrow_config": OTHER_VARIANT,
        "kasa_config": REWRITES_BASE,
        "megatron_config": "(Megatron's parallel layers) is not served",
    }

    r: Rank = 8
    lora_alpha: Alpha = 8
    lora_dropout: Dropout = 0.0
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    init_lora_weights: bool | str = True
    layers_to_transform: Indices | int | None = None
    layers_pattern: Names | str | None = None
    alpha_pattern: Alphas = Field(default_factory=dict[str, Alpha])
    megatron_config: dict[str, Any] | None = None
    megatron_core: str | None = "megatron.core"
    trainable_token_indices: Indices | dict[str, Indices] | None = None
    loftq_config: Options = Field(default_factory=dict[str, Any])
    eva_config: dict[str, Any] | None = None
    corda_config: dict[str, Any] | None = None
    lora_ga_config: dict[str, Any] | None = None
    use_dora: bool = False
    velora_config: dict[str, Any] | None = None
    alora_invocation_tokens: Indices | None = None
    use_qalora: bool = False
    qalora_group_size: int = 16
    monteclora_config: dict[str, Any] | None = None
    layer_replication: list[Any] | None = None
    lora_bias: bool = False
    target_parameters: Names | None = None
    use_bdlora: dict[str, Any] | bool | None = None
    arrow_config: dict[str, Any] | None = None
    kasa_config: dict[str, Any] | None = None
    ensure_weight_tying: bool = False

    @model_validator(mode="after")
    def _chooses_layers_of_a_list(self) -> Self:
        for field in ("layers_to_transform", "layers_pattern"):
            if isinstance(self.target_modules, str) and getattr(self, field) is not None:
                raise ValueError(f"{field} goes with a list of target_modules only, not with {self.target_modules!r}")
        if self.layers_pattern and not self.layers_to_transform and self.layers_to_transform != 0:
            raise ValueError("layers_pattern says where layers_to_transform are counted, which is not given")
        return self

    @field_validator("init_lora_weights")
    @classmethod
    def _leaves_the_base_alone(cls, value: bool | str) -> bool | str:
        if isinstance(value, bool) or value in INITIALISATIONS:
            return value
        if value == "loftq":
            raise ValueError(f"{value!r} {REWRITES_BASE}")
        raise ValueError(f"{value!r} {CONVERTIBLE}" if value.startswith(REWRITING) else f"{value!r} is unknown")

    @cached_property
    def alpha_keys(self) -> PatternKeys[Alpha]:
        """`alpha_pattern`, made ready to be asked."""
        return PatternKeys(self.alpha_pattern, self.expressions)

    @property
    def wanted_layers(self) -> tuple[int, ...] | None:
        """`layers_to_transform` as a list of indices; an empty one means that all layers are wanted, as in PEFT."""
        indices = self.layers_to_transform
        return (indices,) if isinstance(indices, int) else indices or None

    @property
    def layer_lists(self) -> tuple[str, ...]:
        """`layers_pattern` as a list of names; the empty string means none, as in PEFT."""
        names = self.layers_pattern
        return ((names,) if names else ()) if isinstance(names, str) else names or ()

    @property
    def addition_refusal(self) -> str | None:
        """Whatever replaces instead of adding (magnitudes, biases, copies, token rows) can't be weighted and added."""
        replacing = {
            "use_dora": self.use_dora,
            "bias": self.bias != "none",
            "modules_to_save": self.modules_to_save,
            "trainable_token_indices": self.trainable_token_indices,
        }
        fields = [field for field, replaces in replacing.items() if replaces]
        return f"{' and '.join(fields)}: it replaces instead of adding" if fields else None
