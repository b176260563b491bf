import pytest

from models_registry.adapters.expressions import Expressions
from models_registry.adapters.patterns import endings, ends_with, index_in, matches


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("lin1", "lin1", True),
        ("block.lin1", "lin1", True),
        ("a.block.lin1", "block.lin1", True),
        ("xlin1", "lin1", False),
        ("a.xlin1", "lin1", False),
        ("lin1.a", "lin1", False),
        ("", "lin1", False),
    ],
)
def test_an_entry_is_a_name_or_its_end_after_a_dot(name: str, entry: str, expected: bool) -> None:
    assert ends_with(name, entry) is expected
    assert matches((entry,), name, Expressions()) is expected
    assert (entry in endings(name)) is expected


@pytest.mark.parametrize(
    ("expression", "name", "expected"),
    [
        ("lin1", "lin1", True),
        ("lin1", "block.lin1", False),
        (r".*lin\d", "block.lin1", True),
        (r".*lin\d", "block.lin12", False),
        ("a|ab", "ab", True),
    ],
)
def test_a_string_is_an_expression_for_the_whole_name(expression: str, name: str, expected: bool) -> None:
    assert matches(expression, name, Expressions()) is expected


@pytest.mark.parametrize(
    ("name", "layers", "expected"),
    [
        ("model.layers.3.q", (), 3),
        ("model.layers.12.experts.4.q", (), 12),
        ("layers.3.q", ("layers",), 3),
        ("model.h.2.q", ("layers", "h"), 2),
        ("model.layers.3.q", ("h",), None),
        ("model.q", (), None),
        ("layers.3", ("layers",), None),
    ],
)
def test_a_layers_index_stands_in_its_name(name: str, layers: tuple[str, ...], expected: int | None) -> None:
    assert index_in(name, layers, Expressions()) == expected
