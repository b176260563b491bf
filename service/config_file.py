"""`~/.config/adapterctl/config.toml`. Its table `[service]` gives settings that neither flags nor the environment give.

The lines above its first table are those that `adapters login` remembers.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from models_registry.errors import Invalid

TABLE = "service"


class ConfigFile(PydanticBaseSettingsSource):
    """The file as a source of settings, by the names of their flags with `_` or `-`: `port = 9000`."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        """Raises `Invalid` where the file can't be read, or gives what is no setting."""
        super().__init__(settings_cls)
        self._given = read_config_file()
        if unknown := sorted(self._given.keys() - settings_cls.model_fields.keys()):
            raise Invalid(f"{config_path()}, [{TABLE}]: there is no setting {', '.join(unknown)}.")

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._given.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self._given)


def config_path() -> Path:
    """Where the file is, whether it is there or not."""
    return Path(typer.get_app_dir("adapterctl")) / "config.toml"


def read_config_file() -> Mapping[str, Any]:
    """The table `[service]` by settings' names; empty without the file. Raises `Invalid`."""
    place = config_path()
    try:
        table = tomllib.loads(place.read_text(encoding="utf-8")).get(TABLE, {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Invalid(f"{place} can't be read as TOML: {error}.") from error
    if not isinstance(table, dict):
        raise Invalid(f"{place}: {TABLE!r} is no table; write [{TABLE}], and settings below it.")
    return {str(name).replace("-", "_"): value for name, value in table.items()}
