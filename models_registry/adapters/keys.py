"""How the keys of a file become those of our state dicts: without what others put in front of them or into them.

Wrappers of a model (`torch.compile`, FSDP, checkpointed activations) put a word of theirs into every name below them,
and PEFT puts a prefix in front; a module may have had another name in an older version of transformers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from torch import Tensor

from models_registry.adapters.method import PEFT_PREFIX
from models_registry.errors import Invalid
from models_registry.records import Architecture, Fault, Renaming

WEIGHTS: Final = "weights"
WRAPPERS: Final = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch's wrappers call the module in them. No name that a model gives itself."""
PARALLEL: Final = f"module.{PEFT_PREFIX}"
"""How `DistributedDataParallel` begins what PEFT's names then begin."""


def plain_keys(tensors: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """`tensors` without wrappers' words and PEFT's prefix. Raises `Invalid` where two keys become one."""
    is_wrapped = any(wrapper in f"{module.name}." for module in architecture.modules for wrapper in WRAPPERS)
    return _renamed(tensors, {key: _plain(key, is_wrapped) for key in tensors})


def _plain(key: str, is_wrapped: bool) -> str:
    if not is_wrapped:
        for wrapper in WRAPPERS:
            key = key.replace(wrapper, "")
    return key.removeprefix(PARALLEL if key.startswith(PARALLEL) else PEFT_PREFIX)


def _renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    renamed = {names[key]: tensor for key, tensor in tensors.items()}
    if len(renamed) < len(tensors):
        counted: dict[str, list[str]] = {}
        for key, name in names.items():
            counted.setdefault(name, []).append(key)
        doubled = ((key, name) for name, keys in counted.items() if len(keys) > 1 for key in keys if key != name)
        faults = [Fault((WEIGHTS, key), f"is another key for {name}, which stands there too") for key, name in doubled]
        raise Invalid("The weights name tensors twice.", faults)
    return renamed


def todays_keys(
    tensors: Mapping[str, Tensor], has_place: Callable[[str], bool], renamings: Sequence[Renaming]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """`tensors` with today's names for what an older version of transformers called otherwise, and those that changed:
    old name -> new. A key changes only where it has no place and its new name has one.

    Raises:
        Invalid: two keys become one.
    """
    names = {key: key for key in tensors}
    changed: dict[str, str] = {}
    for key in tensors:
        if not has_place(key) and has_place(name := _today(key, renamings)):
            names[key] = changed[key] = name
    return (_renamed(tensors, names), changed) if changed else (dict(tensors), changed)


def _today(key: str, renamings: Sequence[Renaming]) -> str:
    """As transformers reads a checkpoint, and PEFT an adapter: every renaming in turn, each at its first match."""
    for renaming in renamings:
        scope = next((scope for scope in renaming.scopes if key.startswith(scope)), None)
        if scope is None or (match := re.search(renaming.pattern, rest := key.removeprefix(scope))) is None:
            continue
        new = renaming.replacement
        if r"\1" in new:
            # The group behind the one, of several by name, that matched.
            branch = next(index for name, index in match.re.groupindex.items() if match[name] is not None)
            new = new.replace(r"\1", match[branch + 1])
        key = scope + rest.replace(match[0], new, 1)
    return key
