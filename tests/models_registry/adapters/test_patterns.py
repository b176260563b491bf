import pytest

from models_registry.adapters import patterns
from models_registry.adapters.patterns import endings, ends_with, index_in, matches
from models_registry.errors import Invalid


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
    assert matches((entry,), name) is expected
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
    assert matches(expression, name) is expected


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
    assert index_in(name, layers) == expected


@pytest.mark.parametrize("expression", ["(", "*", "[a"])
def test_what_is_no_expression_is_invalid(expression: str) -> None:
    with pytest.raises(Invalid, match="not a regular expression"):
        matches(expression, "name")


def test_a_hostile_expression_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "DEADLINE_S", 0.05)
    with pytest.raises(Invalid, match="takes too long"):
        matches(r"(a|a)*(b|b)*(a|aa)+$", "a" * 60 + "c")


@pytest.mark.parametrize("expression", ["(?:(?:a{500}){500}){50}", "a" * 10_001])
def test_an_expression_that_takes_long_to_compile_is_refused_before_that(expression: str) -> None:
    with pytest.raises(Invalid, match="too large"):
        matches(expression, "a")
