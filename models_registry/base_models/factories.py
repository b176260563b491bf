"""Which callables may build a base model: those that the operator allow-listed, one by one or a module at a time.

`package.module:callable` allows exactly that callable, wherever the module has it from; the part behind the colon may
have dots (`mymodels:Net.small`). `package.module:*` allows what the module offers as its own: the functions and classes
that it defines, except those whose names begin with an underscore, and whatever it lists in `__all__`. What it only
imported (`from subprocess import run`) is no factory, because nobody decided that callers may call it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from importlib import import_module
from types import ModuleType

from models_registry.base_models.sources import check_factory
from models_registry.errors import Invalid
from models_registry.records import Fault


def find_factory(name: str, allowed: Sequence[str]) -> Callable[..., object]:
    """The callable that `"package.module:callable"` names.

    Raises `Invalid` if `allowed` has neither it nor `package.module:*`, if it is not the module's own under the latter,
    or if it can't be imported or called. The module is imported only if the list names it.
    """
    module_name, _, path = name.partition(":")
    check_factory(name, allowed)
    try:
        module = import_module(module_name)
        if name not in allowed:
            _require_own(module, path)
        found: object = reduce(getattr, path.split("."), module)
    except Invalid:
        raise
    except Exception as error:  # importing runs the operator's code, which may raise anything
        raise _refuse(f"{name!r} can't be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise _refuse(f"{name!r} is of the type {type(found).__name__}, which can't be called.")
    return found


def _require_own(module: ModuleType, path: str) -> None:
    """Raise `Invalid` unless the module offers `path` as its own."""
    name, allowed = f"{module.__name__}:{path}", f"{module.__name__}:*"
    exported: Iterable[str] = getattr(module, "__all__", ())
    if path in set(exported):
        return
    if path.startswith("_"):
        raise _refuse(f"{path!r} is private to the module, so that {allowed!r} doesn't allow it; list it in __all__.")
    home = getattr(getattr(module, path), "__module__", None)
    if home != module.__name__:
        origin = f"from {home}" if isinstance(home, str) else "from elsewhere"
        raise _refuse(
            f"The module {module.__name__!r} has {path!r} {origin}, and {allowed!r} allows only what it defines itself "
            f"or lists in __all__. List it there, or ask the operator to list {name!r} itself."
        )


def _refuse(message: str) -> Invalid:
    return Invalid(message, [Fault(("source", "factory"), message)])
