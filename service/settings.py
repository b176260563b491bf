"""What the operator sets: one frozen value, read from `ADAPTER_SERVICE_*` by cli.py and by the demo.

Everything has a default that works on one machine. A bad value is an error that names the setting and what it takes.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from models_registry.errors import Invalid
from models_registry.records import Fault, Role
from service.environment import PREFIX, StrictEnvironment, advice_on
from service.log import LogFormat

_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_FACTORY = re.compile(rf"{_DOTTED}:(?:{_DOTTED}|\*)", re.ASCII)
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?", re.ASCII)
_DATABASE = re.compile(r"(sqlite|postgresql)(\+\w+)?://.*", re.ASCII | re.DOTALL)
_BLOBS = re.compile(r"file:.+|s3://.+", re.ASCII | re.DOTALL)
_PREFIX = re.compile(r"(/[\w.~-]+)*", re.ASCII)
_ENDPOINT = re.compile(r"https?://[^/].*", re.ASCII)


def _split(separator: str) -> BeforeValidator:
    def split(value: Any) -> Any:
        return tuple(part for part in value.split(separator) if part) if isinstance(value, str) else value

    return BeforeValidator(split)


def _matches(pattern: re.Pattern[str], wanted: str, shown: bool = True) -> AfterValidator:
    """A value that may hold a password is not `shown` when it is wrong."""

    def check(value: str | None) -> str | None:
        if value is not None and not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not {wanted}" if shown else f"it is not {wanted}")
        return value

    return AfterValidator(check)


Factory = Annotated[str, _matches(_FACTORY, "`package.module:callable` or `package.module:*`")]


SECRETS = ("admin_key", "metrics_token", "database_url", "blob_url")
"""Settings that may hold a secret, so that `…_FILE` names a file with their value."""


class Settings(BaseSettings):
    """`model_roots` and `factories` are one string each in the environment, split at `:` and at `,`.

    Sizes are bytes, or written as `512MiB`. `migrate` brings a Postgres database to head at the start; a SQLite
    database is always migrated.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    database_url: Annotated[str, _matches(_DATABASE, "a `sqlite:///…` or `postgresql://…` address", shown=False)] = (
        "sqlite:///var/registry.db"
    )
    migrate: bool = False
    blob_url: Annotated[str, _matches(_BLOBS, "`file:directory` or `s3://bucket/prefix`", shown=False)] = (
        "file:var/blobs"
    )
    s3_endpoint: Annotated[str | None, _matches(_ENDPOINT, "an address such as `https://host`", shown=False)] = None
    model_roots: Annotated[tuple[Path, ...], NoDecode, _split(":")] = (Path("var/models"),)
    factories: Annotated[tuple[Factory, ...], NoDecode, _split(",")] = ()
    transport: Literal["local_process", "in_process"] = "local_process"
    load_timeout: float = Field(default=1800.0, gt=0)
    forward_timeout: float = Field(default=600.0, gt=0)
    parallel_loads: int = Field(default=4, gt=0)
    host_memory: ByteSize | None = Field(default=None, gt=0)
    host_environment: Annotated[tuple[str, ...], NoDecode, _split(",")] = ()
    device: Annotated[str, _matches(_DEVICE, "`auto`, `cpu`, `cuda` or `cuda:1`")] = "auto"
    max_upload_bytes: ByteSize = Field(default=ByteSize(1 << 30), gt=0)
    max_json_bytes: ByteSize = Field(default=ByteSize(16 << 20), gt=0)
    max_resident_bytes: ByteSize | None = Field(default=None, gt=0)
    max_merged_bytes: ByteSize | None = Field(default=None, ge=0)
    max_cache_bytes: ByteSize | None = Field(default=None, gt=0)
    max_batch_rows: int = Field(default=64, gt=0)
    max_request_rows: int = Field(default=4096, gt=0)
    max_queue: int = Field(default=1024, gt=0)
    admin_key: Annotated[SecretStr | None, Field(min_length=16)] = None
    allow_anonymous: Role | None = None
    metrics_token: Annotated[SecretStr | None, Field(min_length=16)] = None
    lora_root: Path | None = None
    log_format: LogFormat = "text"
    drain_delay: float = Field(default=0.0, ge=0, le=3600)
    root_path: Annotated[str, _matches(_PREFIX, "a path such as `/adapters`, without a slash at its end")] = ""

    @property
    def migrates_at_start(self) -> bool:
        return self.migrate or self.database_url.startswith("sqlite")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, StrictEnvironment(settings_cls, SECRETS)


def read_settings(**flags: Any) -> Settings:
    """The settings of the environment, with `flags` before them. Raises `Invalid` with every one that is wrong."""
    try:
        return Settings(**flags)
    except ValidationError as error:
        faults = [Fault((f"{PREFIX}{fault['loc'][0]}".upper(),), _in_words(fault)) for fault in error.errors()]
    raise Invalid("These settings are wrong:", faults)


def _in_words(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        return advice_on(str(fault["loc"][0]), Settings.model_fields)
    return fault["msg"].removeprefix("Value error, ")
