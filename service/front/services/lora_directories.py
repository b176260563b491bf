"""Adapters that lie as PEFT's two files in a directory of the operator's, loaded and unloaded by name as in vLLM.

What vLLM's controllers load is registered as any other adapter is; only what was loaded so can be unloaded so.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from models_registry.errors import Invalid, NotFound, TooLarge
from models_registry.records import Fault
from service.front.access.caller import Forbidden
from service.front.access.names import stored_own
from service.front.requests import NewAdapter, NewVersion
from service.front.services.adapters import Adapters
from service.front.services.model_names import ModelNames

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ORIGIN: Final = "lora_path"
"""The key in a version's metadata that names the directory it was loaded from."""


class OutsideRoot(Invalid):
    """The path doesn't lie under the operator's directory, links resolved."""


@dataclass(frozen=True, slots=True)
class LoraOrder:
    """Load the directory `path` as `name`. `model` is its base model, by default the one that its config names, or the
    only one that there is. With `again` it is a new version of what is loaded."""

    name: str
    path: str
    model: str | None = None
    again: bool = False


class LoraDirectories:
    """Every verb may block. Without a `root` all raise `Forbidden`."""

    def __init__(self, adapters: Adapters, names: ModelNames, root: Path | None, max_bytes: int) -> None:
        """`max_bytes` bounds each file."""
        self._adapters = adapters
        self._names = names
        self._root = root
        self._max_bytes = max_bytes

    def load(self, order: LoraOrder) -> None:
        """Raises `OutsideRoot`, `Invalid` (files, name taken), and what creating an adapter raises."""
        directory = self._directory(order.path)
        # Read rather than mapped, because the file's owner may write to it meanwhile.
        config, weights = _as_config(self._read(directory / CONFIG)), self._read(directory / WEIGHTS)
        metadata = {ORIGIN: order.path}
        if not self._is_loaded(order.name):
            model = order.model or self._base_of(config)
            if model not in self._names.bases():
                raise NotFound(f"There is no base model {model!r}.")
            self._adapters.create(NewAdapter(model, _own(order.name), config, weights, metadata=metadata))
        elif order.again:
            self._require_ours(order.name)
            self._adapters.add_version(_own(order.name), NewVersion(weights, config, metadata))
        else:
            message = (
                f"The lora adapter {order.name!r} has already been loaded. If you want to load the adapter in place, "
                "set 'load_inplace' to True."
            )
            raise Invalid(message, [Fault(("lora_name",), message)])

    def unload(self, name: str) -> None:
        """Remove it, once its running requests are done; its files stay. Raises `NotFound`, `Conflict`, and `Invalid`
        for one that was not loaded from a directory."""
        self._require_root()
        self._require_ours(name)
        self._adapters.remove(_own(name), drain=True)

    # ---- inside -------------------------------------------------------------------------------------------------

    def _require_root(self) -> Path:
        if self._root is None:
            raise Forbidden("Adapters are not loaded from paths here: the operator sets ADAPTER_SERVICE_LORA_ROOT.")
        return self._root.resolve()

    def _directory(self, path: str) -> Path:
        root = self._require_root()
        try:
            directory = (root / path).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise _wrong_path(f"can't be a path: {error}") from error
        if not directory.is_relative_to(root):
            message = f"{path!r} does not lie under the directory that the operator allows."
            raise OutsideRoot(message, [Fault(("lora_path",), message)])
        files = [(directory / name).resolve() for name in (CONFIG, WEIGHTS)]
        if missing := [file.name for file in files if not file.is_file() or not file.is_relative_to(root)]:
            raise _wrong_path(f"{path!r} has no {' and no '.join(missing)}.")
        return directory

    def _read(self, file: Path) -> bytes:
        try:
            with file.open("rb") as opened:
                content = opened.read(self._max_bytes + 1)
        except OSError as error:
            raise _wrong_path(f"{file.name} can't be read: {error.strerror}") from error
        if len(content) > self._max_bytes:
            raise TooLarge(f"{file.name} has more than {self._max_bytes} bytes (ADAPTER_SERVICE_MAX_UPLOAD_BYTES).")
        return content

    def _base_of(self, config: Mapping[str, Any]) -> str:
        bases = self._names.bases()
        named = str(config.get("base_model_name_or_path") or "")
        for name in (named, named.rstrip("/").rpartition("/")[2]):
            if name in bases:
                return name
        if len(bases) == 1:
            return bases[0]
        message = f"say which base model it is for, one of {', '.join(bases) or 'none'}: its config names {named!r}"
        raise Invalid("The adapter's base model isn't known.", [Fault(("base_model_name",), message)])

    def _is_loaded(self, name: str) -> bool:
        try:
            self._adapters.find(_own(name))
        except NotFound:
            return False
        return True

    def _require_ours(self, name: str) -> None:
        newest = self._adapters.find(_own(name)).adapter.newest
        if ORIGIN not in newest.metadata:
            message = f"The adapter {name!r} was not loaded from a path; DELETE /adapters/{name} removes it."
            raise Invalid(message, [Fault(("lora_name",), message)])


def _own(name: str) -> str:
    """What the registry calls it. Raises `Invalid` for another team's, which isn't changed from here, and
    `Forbidden` for one that the caller's key is not limited to."""
    if ":" in name:
        message = f"{name!r} names a team; give the name alone, of the caller's own team's adapter."
        raise Invalid(message, [Fault(("lora_name",), message)])
    return stored_own(name)


def _as_config(content: bytes) -> Mapping[str, Any]:
    try:
        config: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _wrong_path(f"{CONFIG} can't be read: {error}") from error
    if not isinstance(config, dict):
        raise _wrong_path(f"{CONFIG} is no JSON object.")
    return cast(dict[str, Any], config)


def _wrong_path(message: str) -> Invalid:
    return Invalid(message, [Fault(("lora_path",), message)])
