"""How a config's names and regular expressions match module names: PEFT's rules."""

from models_registry.adapters.expressions import Expressions


def matches(entries: str | tuple[str, ...], name: str, expressions: Expressions) -> bool:
    """A string is an expression for the whole name; a list's entries are names, or end it after a dot."""
    if isinstance(entries, str):
        return expressions.matches_whole(entries, name)
    return not endings(name).isdisjoint(entries)


def endings(name: str) -> frozenset[str]:
    """What an entry may say to mean `name`: the whole of it, or what stands behind one of its dots."""
    parts = name.split(".")
    return frozenset(".".join(parts[start:]) for start in range(len(parts)))


def ends_with(name: str, entry: str) -> bool:
    return name == entry or name.endswith(f".{entry}")


def index_in(name: str, layers_pattern: tuple[str, ...], expressions: Expressions) -> int | None:
    """The layer's index in a module name (`model.layers.3.mlp` -> 3), below one of `layers_pattern` if given."""
    texts = [rf"(?:^|.*?\.){p}\.(?P<idx>\d+)\." for p in layers_pattern] or [r".*?\.[^.]*\.(?P<idx>\d+)\."]
    found = next(filter(None, (expressions.match(text, name) for text in texts)), None)
    return None if found is None else int(found["idx"])
