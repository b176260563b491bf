r"""`rank_pattern` and `alpha_pattern`: the same as PEFT's `(.*\.)?({key})$`, key after key, in less time."""

import random
import re
from collections.abc import Mapping

import pytest

from models_registry.adapters.expressions import Expressions
from models_registry.adapters.pattern_keys import PatternKeys
from models_registry.errors import Invalid


def of(pattern: Mapping[str, int]) -> PatternKeys[int]:
    return PatternKeys(pattern, Expressions())


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("q", "a.q", True),
        ("q", "a.xq", False),
        ("^a.q", "a.q", True),
        ("^q", "a.q", False),
        ("a|q", "b.q", True),
        (r"layers\.\d+\.q", "model.layers.3.q", True),
        ("a", "a.q", False),
        ("a.q", "b.axq", True),  # a dot stands for any character
        ("a.q", "b.a.q", True),
        (".q", "b.a.q", False),
        ("", "a.q", False),
        ("", "", True),
        ("q", "a.q\n", True),
        ("a.q", "a\nq", False),
        ("a-b", "x.a-b", True),
        (r"a\.q", "b.a.q", True),
        (r"a\.q", "b.axq", False),
        (r"^a\.q", "a.q", True),
        (r"^a\.q", "b.a.q", False),
    ],
)
def test_a_key_names_the_end_of_a_name(key: str, name: str, expected: bool) -> None:
    keys = of({key: 1})
    assert keys.first(name, 0) == expected
    assert keys.unmatched([name]) == ([] if expected else [key])


def test_the_first_key_that_matches_gives_the_value() -> None:
    assert of({"x": 1, "q": 2, "a.q": 3}).first("a.q", 9) == 2
    assert of({"x": 1, "[pq]": 2, "q": 3}).first("a.q", 9) == 2
    assert of({"x": 1, "q": 3, "[pq]": 2}).first("a.q", 9) == 3
    assert of({"x": 1}).first("a.q", 9) == 9
    assert of({}).first("a.q", 9) == 9
    assert of({"q": 0}).first("a.q", 9) == 0


def test_whatever_the_keys_they_mean_what_the_expressions_mean() -> None:
    chance = random.Random(3)

    def word(*characters: str) -> str:
        return "".join(chance.choices(characters, k=chance.randint(1, 5)))

    for _ in range(300):
        pattern = {word("^", *"ab..-|", r"\."): place for place in range(12)}
        names = [word(*"ab..-\n") for _ in range(8)]
        expected = {n: [k for k in pattern if re.match(rf"(.*\.)?({k})$", n)] for n in names}
        keys = of(pattern)
        for name in names:
            assert keys.first(name, -1) == next((pattern[key] for key in expected[name]), -1), (pattern, name)
        assert keys.unmatched(names) == [k for k in pattern if not any(k in found for found in expected.values())]


def test_thousands_of_names_are_looked_up_and_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def match(*_: object) -> None:
        pytest.fail("it was tried")

    monkeypatch.setattr(Expressions, "match", match)
    names = [f"model.layers.{layer}.q_proj" for layer in range(200)]
    for key in ("layers.{}.q_proj", r"^model\.layers\.{}\.q_proj"):
        keys = of({key.format(layer): layer for layer in range(5_000)})
        assert [keys.first(name, -1) for name in names] == list(range(200))
        assert len(keys.unmatched(names)) == 4_800


@pytest.mark.parametrize("key", ["(", "a" * 10_000])
def test_a_key_that_is_no_expression_or_too_large_a_one_is_invalid(key: str) -> None:
    with pytest.raises(Invalid):
        of({key: 1}).first("a", 0)
