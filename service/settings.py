"""What the operator sets: one frozen value, read from `ADAPTER_SERVICE_*` by cli.py and by the demo.

A setting is stated here and nowhere else: a field, and the text below it. The flags of `serve` (setting_flags.py) and
the table in docs/operations/settings.md (`make settings`) are made from both. Everything has a default that works on
one machine. A bad value is an error that names the setting and what it takes.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import ByteSize, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models_registry.errors import Invalid
from models_registry.records import Fault, Role
from service.config_file import ConfigFile, config_path, read_config_file
from service.environment import PREFIX, StrictEnvironment, advice_on
from service.log import LogFormat, LogLevel
from service.setting_types import (
    Algorithms,
    BlobUrl,
    DatabaseUrl,
    Device,
    Directories,
    Factories,
    Issuer,
    Names,
    Origins,
    PathPrefix,
    S3Endpoint,
    Secret,
)


class Settings(BaseSettings):
    """Sizes are bytes, or written as `512MiB`. The texts are Markdown, as the table of settings shows them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    database_url: DatabaseUrl = "sqlite:///var/registry.db"
    """The registry's: `sqlite:///path` or `postgresql://…`."""
    migrate: bool = False
    """Bring Postgres to this version's schema at the start; SQLite always is (`adapterctl migrate` does it by hand)."""
    blob_url: BlobUrl = "file:var/blobs"
    """Where weights are kept: `file:directory` or `s3://bucket/prefix`."""
    s3_endpoint: S3Endpoint = None
    """S3 that isn't Amazon's: `https://host`, or `http://…` if that is meant."""
    model_roots: Directories = (Path("var/models"),)
    """Directories, split at `:`, that base models must lie under, links resolved."""
    factories: Factories = ()
    """Allowed `package.module:callable` or `package.module:*`, split at `,`."""
    transport: Literal["local_process", "in_process"] = "local_process"
    """A [process for each base model](hosts.md); `in_process`: all models in the service's own process, where one that
    crashes ends all."""
    load_timeout: float = Field(default=1800.0, gt=0)
    """Seconds that a model may take to be built; then its process is ended and the model is `failed`."""
    ready_grace: float = Field(default=60.0, ge=0)
    """Seconds after its start that the service isn't ready while it loads the models that were ready when it last
    ran."""
    forward_timeout: float = Field(default=600.0, gt=0)
    """Seconds that one forward may take; then the model's process is ended and started again."""
    parallel_loads: int = Field(default=4, gt=0)
    """Models that are built at the same time; a build that has taken 20 s no longer counts."""
    scale_up_after: float = Field(default=10.0, gt=0)
    """Seconds that work waits before a model gets more [replicas](cluster.md#how-many-replicas-and-with-what)."""
    scale_down_after: float = Field(default=300.0, gt=0)
    """Seconds in which fewer replicas would do before a model gets fewer."""
    host_memory: ByteSize | None = Field(default=None, gt=0)
    """Private memory that each model's process may have, libraries (about 350 MB) included; an allocation beyond it
    fails. Without it there is no limit."""
    host_environment: Names = ()
    """Names of variables, split at `,`, that models' processes get [besides the usual ones](hosts.md#what-a-host-gets);
    never the service's own or the database's."""
    device: Device = "auto"
    """Where base models run: `auto`, `cpu`, `cuda`, `cuda:1`."""
    max_upload_bytes: ByteSize = Field(default=ByteSize(1 << 30), gt=0)
    """Larger bodies are refused, and so are larger adapters with initial weights."""
    max_json_bytes: ByteSize = Field(default=ByteSize(16 << 20), gt=0)
    """Larger JSON bodies are refused, and forms whose fields beside the weights are larger."""
    max_resident_bytes: ByteSize | None = Field(default=None, gt=0)
    """Bytes for the adapters of each model; those beyond it are evicted, least recently used first. By default a
    quarter of the memory of the device, or of the container, shared by the loaded models."""
    max_merged_bytes: ByteSize | None = Field(default=None, ge=0)
    """Copies of a model's layers with a hot adapter in their weights; 0 for none. By default an eighth of the above."""
    max_cache_bytes: ByteSize | None = Field(default=None, gt=0)
    """Keys and values of the texts that a model writes; a text that never fits is 422. By default a quarter
    of that memory, too."""
    max_batch_rows: int = Field(default=64, gt=0)
    """Rows in one forward."""
    max_request_rows: int = Field(default=4096, gt=0)
    """Rows in one request; more are 422."""
    max_queue: int = Field(default=1024, gt=0)
    """Requests that may wait for one model; more are 429, beyond each team's [fair share](fairness.md)."""
    admin_key: Secret = None
    """An admin's [key](access.md) of your own choice, at least 16 characters."""
    allow_anonymous: Role | None = None
    """The role of callers without a key, with or without keys: `reader`, `caller`, `publisher`, `admin`."""
    oidc_issuer: Issuer = None
    """The [identity provider](access.md#tokens-of-an-identity-provider) whose bearer tokens are taken: its `iss`, with
    `https`."""
    oidc_audience: str | None = Field(default=None, min_length=1)
    """The `aud` that its tokens must have; needed with an issuer."""
    oidc_team_claim: str = Field(default="team", min_length=1)
    """The claim of a token that names its caller's team; `a.b` is a member of `a`."""
    oidc_role_claim: str = Field(default="role", min_length=1)
    """The claim of a token that names its caller's role, or several of which the highest counts."""
    oidc_client_id: str | None = Field(default=None, min_length=1)
    """What the service is called at the identity provider: with it, people [sign in to the
    console](../guides/console.md#by-an-identity-provider) there."""
    oidc_client_secret: SecretStr | None = Field(default=None, min_length=1)
    """The secret that goes with it, where the provider gave one."""
    oidc_scopes: Names = ("openid",)
    """What the console's login asks the provider for, split at `,`; those that bring the claims of team and role."""
    oidc_algorithms: Algorithms = ("RS256", "ES256")
    """Signatures that tokens may have, split at `,`; also `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES384`,
    `ES512`, `EdDSA`."""
    cors_origins: Origins = ()
    """Origins, split at `,`, whose web pages may call the service: `https://app.example.org`. By default none may."""
    metrics_token: Secret = None
    """A bearer token that opens `/metrics` and nothing else, at least 16 characters."""
    console_secret: Secret = None
    """Signs the [console's](../guides/console.md) sessions, at least 16 characters; all processes of one service need
    the same. By default each makes its own, and its sessions end with it."""
    usage_retention: int = Field(default=400, ge=1, le=36500)
    """Days that [what was used](usage.md) is kept."""
    lora_root: Path | None = None
    """A directory whose adapters vLLM's controllers may load by `/v1/load_lora_adapter`, links resolved; without it
    they may not."""
    log_format: LogFormat = "text"
    """`text`, or `json`: one object a line."""
    log_level: LogLevel = "info"
    """`debug`, `info`, `warning` or `error`. Lines of requests and of changes (`audit`) are `info`."""
    drain_delay: float = Field(default=0.0, ge=0, le=3600)
    """Seconds after SIGTERM in which new requests are still answered, while readiness says no: time for a load balancer
    to notice."""
    root_path: PathPrefix = ""
    """The path under which a proxy publishes the service, as `/adapters`, whether the proxy cuts it off or not."""

    @model_validator(mode="after")
    def _has_audience(self) -> Self:
        if self.oidc_issuer is not None and self.oidc_audience is None:
            # Without one, a token that somebody got for another application would be good here.
            raise ValueError("with an issuer, ADAPTER_SERVICE_OIDC_AUDIENCE must say for whom its tokens are made")
        if self.oidc_client_id is not None and self.oidc_issuer is None:
            raise ValueError("ADAPTER_SERVICE_OIDC_CLIENT_ID needs ADAPTER_SERVICE_OIDC_ISSUER")
        return self

    @property
    def migrates_at_start(self) -> bool:
        return self.migrate or self.database_url.startswith("sqlite")

    def secrets(self) -> Iterator[str]:
        """The values of the settings that are secrets."""
        yield from (value.get_secret_value() for _, value in self if isinstance(value, SecretStr))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        in_files = [name for name, field in settings_cls.model_fields.items() if may_lie_in_file(name, field)]
        return init_settings, StrictEnvironment(settings_cls, in_files), ConfigFile(settings_cls)


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is only a secret, so that no flag takes it: flags are seen by others on the machine."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def may_lie_in_file(name: str, field: FieldInfo) -> bool:
    """Whether `…_FILE` may name a file with a setting's value: it is a secret, or an address that may hold one."""
    return is_secret(field) or name in {"database_url", "blob_url"}


def read_settings(**flags: Any) -> Settings:
    """The settings of the environment and of the configuration file, with `flags` before them. Raises `Invalid` with
    every one that is wrong."""
    try:
        return Settings(**flags)
    except ValidationError as error:
        faults = [Fault((_place_of(fault, flags),), _in_words(fault)) for fault in error.errors()]
    raise Invalid("These settings are wrong:", faults)


def _place_of(fault: ErrorDetails, flags: Collection[str]) -> str:
    """Where the wrong value stands: the variable, or the configuration file where it alone gives one. Where a rule of
    several settings is broken, the one that brings the rule in."""
    name = str(fault["loc"][0] if fault["loc"] else "oidc_issuer")
    variable = f"{PREFIX}{name}".upper()
    only_in_file = name not in flags and variable not in map(str.upper, os.environ) and name in read_config_file()
    return f"{config_path()}: {name}" if only_in_file else variable


def _in_words(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        return advice_on(str(fault["loc"][0]), Settings.model_fields)
    return fault["msg"].removeprefix("Value error, ")
