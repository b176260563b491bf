"""A caller's expressions: what they find is what `re` finds, and none of them holds anybody else up."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_registry.adapters.expression_size import DEEPEST, LARGEST, LONGEST, require_bounded
from models_registry.adapters.expressions import MOST, Expressions
from models_registry.errors import Invalid

CATASTROPHE = r"(a|a)*(b|b)*(a|aa)+$"
NAME = "a" * 60 + "c"

PIECES = st.sampled_from(
    [
        *"abq.019|()[]{}*+?^$-,\\:=!<",
        r"\.",
        r"\d",
        r"\w",
        r"\b",
        "(?:",
        "(?=",
        "(?!",
        "{2}",
        "{,3}",
        "{1,}",
        "[^a]",
        ".*",
    ]
)


@settings(max_examples=1_000, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join), st.text("abq.019\n", max_size=8))
def test_what_is_accepted_finds_what_re_finds(expression: str, name: str) -> None:
    try:
        found = Expressions().match(expression, name)
    except Invalid:
        return  # what `re` reads and we refuse is listed below
    expected = re.match(expression, name)
    assert (found and found.span()) == (expected and expected.span()), expression
    assert Expressions().matches_whole(expression, name) == bool(re.fullmatch(expression, name))


@pytest.mark.parametrize(
    "expression",
    [
        r".*\.(q_proj|k_proj|v_proj)",
        r"^(language_model|model)(?=\.).*\.(q_proj|o_proj)$",
        r"^(?!.*visual).*(?:q_proj|v_proj)",
        r"(?:.*?(?:language|text).*?(?:self_attn|attention|mlp).*?(?:q_proj|v_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.mlp)",
        r"model\.layers\.([0-9]|1[0-9]|2[0-3])\.mlp\.(gate|up)_proj",
        r"(?i)MODEL\.layers\.\d{1,3}\..*",
        r"[]a-z.\[\]-]{1,40}",
        r"(?:(?:model|(?:\w+\.)+)layers\.(?:\d+\.)+)+(?:\w+\.)*q_proj",
        "|".join(re.escape(f"model.layers.{layer}.q_proj") for layer in range(300)),
    ],
)
def test_what_training_tools_write_is_accepted(expression: str) -> None:
    name = "model.layers.11.q_proj"
    assert Expressions().matches_whole(expression, name) == bool(re.fullmatch(expression, name))


@pytest.mark.parametrize(
    "expression", ["(", ")", "*", "[a", "[", "a)", r"a\1", "(?<=a+)b", "a**", "(?P<n>a)(?P<n>b)", "\\"]
)
def test_what_is_no_expression_is_invalid(expression: str) -> None:
    with pytest.raises(re.error):
        re.compile(expression)
    with pytest.raises(Invalid):
        Expressions().match(expression, "name")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("a{e}", "no repetition"),
        ("a{}", "no repetition"),
        ("a{1,2", "no repetition"),
        ("[a[b]", r"`\[` inside"),
        ("[a||b]", r"`\|\|` inside"),
        ("(?x) a", "verbose"),
        ("(?i-x:a)", "verbose"),
        ("a(?#b)", "comment"),
    ],
)
def test_what_the_two_engines_read_differently_is_refused(expression: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        require_bounded(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "a" * (LONGEST + 1),
        "1" * 60_000,
        "(" * (DEEPEST + 1) + "a" + ")" * (DEEPEST + 1),
        "(?:(?:.{500,}){500,}){500,}",
        "(?:(?:(?:.?){1000}){1000}){1000}",
        "(?:(.?){1000,}){1000,}",
        "(" * 40 + "a" + ")+" * 40,
        "(?:" * 40 + "a" + ")+?" * 40,
        "(?:" * 40 + "a" + "){1,}" * 40,
        f"a{{{LARGEST + 1}}}",
        "a{999999999999}",
        "(?x) # [\n(?:.{999}){999} # ]",
    ],
)
def test_what_would_take_much_to_compile_is_refused_before_that(
    expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(_: str) -> None:
        pytest.fail("it was compiled")

    monkeypatch.setattr(re, "compile", compiled)
    with pytest.raises(Invalid):
        Expressions().match(expression, "name")


def test_the_limits_themselves_are_accepted() -> None:
    for expression in ("a" * LONGEST, "(" * DEEPEST + "a" + ")" * DEEPEST, f"a{{{LARGEST - 1}}}"):
        assert not Expressions().matches_whole(expression, "b")


def test_a_hostile_expression_is_stopped() -> None:
    with pytest.raises(Invalid, match="too long"):
        Expressions(0.05).matches_whole(CATASTROPHE, NAME)


def test_all_expressions_of_a_config_share_one_time() -> None:
    expressions = Expressions(0.05)
    with pytest.raises(Invalid, match="too long"):
        expressions.match(CATASTROPHE, NAME)
    with pytest.raises(Invalid, match="too long"):
        expressions.match("harmless", "name")


def test_a_new_config_has_so_many_expressions_and_a_stored_one_any_number() -> None:
    new, stored = Expressions(), Expressions(most=None)
    for number in range(MOST):
        assert new.matches_whole(f"[a]{number}", f"a{number}")
    assert new.matches_whole("[a]0", "a0")
    with pytest.raises(Invalid, match=f"more than {MOST} regular expressions"):
        new.matches_whole("[b]", "b")
    assert all(stored.matches_whole(f"[a]{number}", f"a{number}") for number in range(MOST + 1))


def test_what_was_asked_once_costs_no_time_again() -> None:
    expressions = Expressions(0.05)
    assert expressions.matches_whole("a.c", "abc")
    with pytest.raises(Invalid, match="too long"):
        expressions.match(CATASTROPHE, NAME)
    assert expressions.matches_whole("a.c", "abc")
