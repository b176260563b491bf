"""What is sent to register a base model, and what is answered about one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models_registry.adapters.catalog import METHODS
from models_registry.arithmetic import Arithmetic, Form
from models_registry.records import HuggingFaceSource, ModuleInfo, PythonSource, Source
from models_registry.registry import BaseModelChange
from service.front.access.caller import current_caller
from service.front.api.dependencies import Name
from service.front.api.http.bodies import JsonObject
from service.front.api.replica_answers import ReplicaAnswer, show_replica
from service.front.api.resources_body import ResourcesBody, show_resources
from service.front.requests import HostReport, ModelModules, ModelProgress, ModelState, ModelStatus

MAX_LABELS = 1 << 20
MOST_TEAMS = 1000


class HuggingFaceSourceBody(BaseModel):
    """A transformers directory under the service's model roots (safetensors), or a GGUF `file` in it."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["huggingface"] = Field(description="A directory as transformers saves it.")
    path: str = Field(min_length=1, description="Under one of the service's model roots.", examples=["smollm2"])
    file: str | None = Field(
        default=None, description="A GGUF file in it, instead of safetensors.", examples=["model-q8_0.gguf"]
    )

    def source(self) -> Source:
        return HuggingFaceSource(self.path, self.file)


class PythonSourceBody(BaseModel):
    """An allow-listed callable that returns an `nn.Module` when it is called with `kwargs`."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["python"] = Field(description="A callable that the operator allows.")
    factory: str = Field(
        min_length=1, description="`package.module:callable`, on the service's list.", examples=["mymodels:tiny"]
    )
    kwargs: JsonObject = Field(default={}, description="What it is called with.", examples=[{"width": 8}])

    def source(self) -> Source:
        return PythonSource(self.factory, self.kwargs)


class NewModelBody(BaseModel):
    """`dtype`, `device` and `task` are by default the source's own, the service's, and the architecture's."""

    model_config = ConfigDict(extra="forbid")

    id: Name = Field(description="What it is called from now on.", examples=["smollm2"])
    source: Annotated[HuggingFaceSourceBody | PythonSourceBody, Field(discriminator="kind")] = Field(
        description="The source of its module.", examples=[{"kind": "huggingface", "path": "smollm2"}]
    )
    dtype: str | None = Field(
        default=None,
        description="torch's name without `torch.`, or `auto`: as stored, computed in the fastest arithmetic that "
        "reads exactly the stored numbers, as measured when it is hosted.",
        examples=["bfloat16"],
    )
    device: str | None = Field(default=None, description="Where it runs.", examples=["cuda:1"])
    task: str | None = Field(default=None, description="A Hugging Face pipeline tag", examples=["text-generation"])
    num_labels: int | None = Field(
        default=None,
        ge=1,
        le=MAX_LABELS,
        examples=[3],
        description="How many classes a classifier has whose head is not in its files; by default as many as its "
        "config says, else as the first adapter has. Each adapter then brings its own head.",
    )
    example_inputs: JsonObject | None = Field(
        default=None,
        description="Inputs that the model takes, as a request writes them. What fails of them stands in `warnings`.",
        examples=[{"x": [[1.0, 2.0, 3.0, 4.0]]}],
    )
    teams: list[Name] | None = Field(
        default=None,
        max_length=MOST_TEAMS,
        description="All that may use it, besides admins; for others it isn't there. By default it is everybody's.",
        examples=[["fraud"]],
    )
    resources: ResourcesBody | None = Field(
        title="Resources",
        default=None,
        description="How many replicas it has on several machines, and what each is given.",
        examples=[{"min_replicas": 1, "max_replicas": 4}],
    )


class ModelChangeBody(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    teams: list[Name] | None = Field(
        default=None,
        max_length=MOST_TEAMS,
        description="All that may use it from now on; null: everybody.",
        examples=[["fraud"]],
    )
    resources: ResourcesBody | None = Field(
        title="Resources",
        default=None,
        description="How many replicas it has from now on, and what each is given; null: the service's own.",
        examples=[{"min_replicas": 1, "max_replicas": 4}],
    )

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing is to change; say `teams` or `resources`")
        return self

    def change(self) -> BaseModelChange:
        change = BaseModelChange()
        if "teams" in self.model_fields_set:
            change["teams"] = self.teams
        if "resources" in self.model_fields_set:
            change["resources"] = self.resources and self.resources.resources()
        return change


class ProgressAnswer(BaseModel):
    """What a build is at. A model that is being probed is ready already."""

    step: Literal["waiting", "starting", "building", "probing"] = Field(
        description="It waits for other builds; its process starts; the module is built; small forwards look at it.",
        examples=["building"],
    )
    fraction: float | None = Field(
        description="How much is done, judging by the last time; null the first time.", examples=[0.4]
    )
    seconds: float = Field(description="Since loading began.", examples=[3.2])


class ArithmeticAnswer(BaseModel):
    """What a hosted model computes in. It is no part of what the model is: the fingerprint is of the stored weights."""

    form: Form = Field(
        title="Form",
        description="`as_stored`, `float32` (the same numbers, widened), or `float16_weights` (float32, but linear "
        "layers read float16 copies of their weights, where these are exactly the same numbers).",
        examples=["float16_weights"],
    )
    reason: str = Field(
        description="Why it was chosen.",
        examples=["It is the fastest (a step takes float32 x1.44, float16_weights x0.72 of as_stored)."],
    )
    ratios: Mapping[str, float] = Field(
        description="The measured time of a step over that of the weights as stored, by form; empty if not measured.",
        examples=[{"as_stored": 1.0, "float32": 1.44, "float16_weights": 0.72}],
    )
    bytes: int = Field(description="What all weights take in memory so, copies included.", examples=[594000000])


class ModelAnswer(BaseModel):
    """`parameters`, `bytes` and `fingerprint` are null until the model was built once; `reason` says why it failed."""

    id: str = Field(description="The base model's id.", examples=["smollm2"])
    state: ModelState = Field(title="State", description="Requests are answered while it is `ready`.")
    reason: str | None = Field(description="Why it failed.", examples=[None])
    source: HuggingFaceSourceBody | PythonSourceBody = Field(
        description="The source of its module.", examples=[{"kind": "huggingface", "path": "smollm2", "file": None}]
    )
    task: str | None = Field(description="Its Hugging Face pipeline tag.", examples=["text-generation"])
    num_labels: int | None = Field(description="As asked for.", examples=[3])
    dtype: str | None = Field(
        description="What its weights are stored in, torch's name without `torch.`.", examples=["bfloat16"]
    )
    arithmetic: ArithmeticAnswer | None = Field(
        title="Arithmetic", description="What it computes in, while it is in memory.", examples=[None]
    )
    device: str | None = Field(description="Where it runs.", examples=["cpu"])
    parameters: int | None = Field(description="How many numbers it has.", examples=[134515008])
    bytes: int | None = Field(description="What they take as they are stored.", examples=[269030016])
    fingerprint: str | None = Field(
        description="The sha256 over every weight's name, shape, dtype and bytes.", examples=[f"sha256:{'2e' * 32}"]
    )
    example_inputs: Mapping[str, Any] | None = Field(
        description="As they were registered.", examples=[{"x": [[1.0, 2.0, 3.0, 4.0]]}]
    )
    created_at: datetime = Field(description="When it was registered.", examples=["2026-11-28T07:00:00Z"])
    resident: list[str] = Field(description="The adapter versions in memory with it.", examples=[["pirate@3"]])
    warnings: list[str] = Field(
        description="What its owner should know of what was registered, once it is in memory.", examples=[[]]
    )
    progress: ProgressAnswer | None = Field(
        title="Progress", description="What its build is at, until it has been probed.", examples=[None]
    )
    teams: list[str] | None = Field(
        description="All that may use it, for admins; null: everybody, or the caller is no admin.", examples=[["fraud"]]
    )
    replicas: list[ReplicaAnswer] = Field(
        description="The processes that run it on several machines; none on one.", examples=[[]]
    )
    resources: ResourcesBody | None = Field(
        title="Resources",
        description="How many replicas it has on several machines, and what each is given; null: the service's own.",
        examples=[{"min_replicas": 1, "max_replicas": 4, "cpus": 2.0, "gpus": None, "memory_bytes": None}],
    )


class HostAnswer(BaseModel):
    """The process that runs a base model. `pid`, `rss_bytes` and `age_s` are null where it shares the service's own."""

    model: str = Field(description="The base model's id.", examples=["smollm2"])
    state: ModelState = Field(title="State", description="The model's.")
    pid: int | None = Field(description="The process's number on its machine.", examples=[4711])
    rss_bytes: int | None = Field(description="Its memory, what it shares with others included.", examples=[540000000])
    age_s: float | None = Field(description="Seconds since it was started.", examples=[86400.0])
    busy_s: float | None = Field(description="How long its present forward runs; null while it waits.", examples=[0.2])
    restarts: int = Field(description="How often its process died since the model was loaded.", examples=[0])
    last_death: str | None = Field(description="How it died last: a signal, an exit code.", examples=["SIGSEGV"])


class ParameterAnswer(BaseModel):
    shape: list[int] = Field(description="As torch has it.", examples=[[576, 576]])
    dtype: str = Field(description="torch's name without `torch.`.", examples=["bfloat16"])


class ModuleAnswer(BaseModel):
    """A module that an adapter could target, and the methods that take it."""

    name: str = Field(
        description="As in `named_modules()`; a config's `target_modules` may name it.",
        examples=["model.layers.0.self_attn.q_proj"],
    )
    type: str = Field(description="Its class.", examples=["Linear"])
    parameters: dict[str, ParameterAnswer] = Field(
        description="Its own, by their short names.", examples=[{"weight": {"shape": [576, 576], "dtype": "bfloat16"}}]
    )
    methods: list[str] = Field(description="The `peft_type`s that take it.", examples=[["LORA", "ADALORA", "IA3"]])
    entered: bool | None = Field(
        description="Whether a small forward was seen to call it; null while none has run.", examples=[True]
    )


class ModulesAnswer(BaseModel):
    modules: list[ModuleAnswer] = Field(description="In `named_modules()` order.")


def show_model(status: ModelStatus) -> ModelAnswer:
    base = status.base
    return ModelAnswer(
        id=base.id,
        state=status.state,
        reason=status.reason,
        source=_show_source(base.source),
        task=status.task,
        num_labels=base.num_labels,
        dtype=status.dtype,
        arithmetic=_show_arithmetic(status.arithmetic),
        device=status.device,
        parameters=base.parameters,
        bytes=base.bytes,
        fingerprint=base.fingerprint and f"sha256:{base.fingerprint}",
        example_inputs=base.example_inputs,
        created_at=base.created_at,
        resident=list(status.resident),
        warnings=list(status.warnings),
        progress=_show_progress(status.progress),
        replicas=[show_replica(one) for one in status.replicas],
        resources=show_resources(base.resources),
        teams=list(base.teams) if base.teams is not None and current_caller().may("admin") else None,
    )


def show_host(model: str, report: HostReport) -> HostAnswer:
    process = report.process
    return HostAnswer(
        model=model,
        state=report.state,
        pid=process and process.pid,
        rss_bytes=process and process.rss_bytes,
        age_s=process and process.age_s,
        busy_s=report.busy_s,
        restarts=report.restarts,
        last_death=report.last_death,
    )


def _show_progress(progress: ModelProgress | None) -> ProgressAnswer | None:
    return progress and ProgressAnswer(step=progress.step, fraction=progress.fraction, seconds=progress.seconds)


def _show_arithmetic(arithmetic: Arithmetic | None) -> ArithmeticAnswer | None:
    return arithmetic and ArithmeticAnswer(
        form=arithmetic.form, reason=arithmetic.reason, ratios=arithmetic.ratios, bytes=arithmetic.bytes
    )


def _show_source(source: Source) -> HuggingFaceSourceBody | PythonSourceBody:
    if isinstance(source, HuggingFaceSource):
        return HuggingFaceSourceBody(kind=source.kind, path=source.path, file=source.file)
    return PythonSourceBody(kind=source.kind, factory=source.factory, kwargs=dict(source.kwargs))


def show_modules(modules: ModelModules) -> ModulesAnswer:
    adaptable = [module for module in modules.architecture.modules if module.kind is not None]
    return ModulesAnswer(modules=[_show_module(module, modules.entered) for module in adaptable])


def _show_module(module: ModuleInfo, entered: frozenset[str] | None) -> ModuleAnswer:
    return ModuleAnswer(
        name=module.name,
        type=module.type,
        parameters={
            name: ParameterAnswer(shape=list(info.shape), dtype=info.dtype) for name, info in module.parameters.items()
        },
        methods=[name for name, method in METHODS.items() if module.kind in method.kinds],
        entered=None if entered is None else module.name in entered,
    )
