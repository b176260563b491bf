"""The only list of methods: from an adapter_config.json to a typed config, and back."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from models_registry.adapters.adalora import AdaLoraConfig
from models_registry.adapters.ia3 import IA3Config
from models_registry.adapters.lora import LoraConfig
from models_registry.adapters.method import STORED
from models_registry.errors import Invalid, Unsupported
from models_registry.records import Fault

AdapterConfig: TypeAlias = LoraConfig | AdaLoraConfig | IA3Config

METHODS: Final[Mapping[str, type[LoraConfig] | type[AdaLoraConfig] | type[IA3Config]]] = {
    "LORA": LoraConfig,
    "ADALORA": AdaLoraConfig,
    "IA3": IA3Config,
}
SERVED = ", ".join(METHODS)


def parse_config(raw: Mapping[str, Any], accept_unknown: Collection[str] = ()) -> AdapterConfig:
    """Read PEFT's adapter_config.json. Unknown keys are kept if null, false or empty, or named in `accept_unknown`.

    Raises:
        Invalid: a missing or mistyped value, an unknown key that may change what the adapter computes; lists them all.
        Unsupported: a method, variant or initialisation that is refused by name; lists them all.
    """
    return _parse(raw, accept_unknown)


def parse_stored(config: Mapping[str, Any]) -> AdapterConfig:
    """Read the config of a stored version: it was accepted once, unknown keys included."""
    return _parse(config, config.keys(), STORED)


def _parse(raw: Mapping[str, Any], accept_unknown: Collection[str], context: str | None = None) -> AdapterConfig:
    method = METHODS.get(raw["peft_type"]) if isinstance(raw.get("peft_type"), str) else None
    if method is None:
        fault = Fault(("config", "peft_type"), f"must be one of {SERVED}, not {raw.get('peft_type')!r}")
        raise Unsupported("The config names no method that is served.", [fault])
    unknown = [
        Fault(
            ("config", key), "is unknown and may change what the adapter computes; name it in accept_unknown to keep it"
        )
        for key, value in raw.items()
        if key not in method.model_fields and not _says_nothing(value) and key not in accept_unknown
    ]
    refused = [Fault(("config", key), f"{key} {reason}") for key, reason in method.refused.items() if raw.get(key)]
    try:
        config = method.model_validate(dict(raw), context=context)
    except ValidationError as error:
        faults = [*unknown, *refused, *_faults(error)]
        raise Invalid("The config is not a valid adapter_config.json.", faults) from error
    if unknown:
        raise Invalid("The config has keys that are not known.", [*unknown, *refused])
    if refused:
        raise Unsupported("The config asks for what is not served.", refused)
    return config


def dump_config(config: AdapterConfig) -> dict[str, Any]:
    """What adapter_config.json holds: every field and every kept unknown key, JSON-ready."""
    return config.model_dump(mode="json")


def _faults(error: ValidationError) -> Iterator[Fault]:
    for fault in error.errors(include_url=False, include_input=False):
        yield Fault(("config", *fault["loc"]), fault["msg"].removeprefix("Value error, "))


def _says_nothing(value: object) -> bool:
    """Null, false or empty. Zero is a number, and says something."""
    return value is None or value is False or value in ("", [], {})
