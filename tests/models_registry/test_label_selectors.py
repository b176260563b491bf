"""Label selectors: what they mean, and where one can't be read."""

import pytest

from models_registry.label_selectors import UnreadableSelector, is_selected, read_selector

LABELS = {"stage": "prod", "lang": "de", "team.example/owner": "x", "empty": ""}


@pytest.mark.parametrize(
    ("text", "selects"),
    [
        ("stage=prod", True),
        ("stage == prod", True),
        ("stage=canary", False),
        ("stage!=canary", True),
        ("stage != prod", False),
        ("size!=large", True),
        ("lang in (de,en)", True),
        ("lang in(en , fr)", False),
        ("lang notin (en,fr)", True),
        ("lang notin (de)", False),
        ("size notin (large)", True),
        ("stage", True),
        ("size", False),
        ("!size", True),
        ("! stage", False),
        ("team.example/owner=x", True),
        ("empty=", True),
        ("empty in (a,)", True),
        ("stage=", False),
        ("stage=prod,lang in (de,en),!size", True),
        ("stage=prod,lang in (de,en),size", False),
        ("in in (in)", False),
        ("  stage = prod  ", True),
    ],
)
def test_a_selector_selects_as_in_kubernetes(text: str, *, selects: bool) -> None:
    assert is_selected(LABELS, read_selector(text)) == selects


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("stage=prod,", 11),
        (",stage", 0),
        ("stage prod", 6),
        ("stage=prod lang", 11),
        ("lang in de", 8),
        ("lang in (de", 11),
        ("lang in (de en)", 12),
        ("lang in", 7),
        ("stage=a=b", 7),
        ("stage>3", 5),
        ("stage='prod'", 6),
        ("!", 1),
        ("!!stage", 1),
        ("a.=b", 0),
        ("a=b/c", 2),
        (f"{'a' * 65}=b", 0),
        ("größe=l", 2),
        (",".join(["a"] * 65), 127),
    ],
)
def test_a_selector_that_can_not_be_read_is_told_where(text: str, position: int) -> None:
    with pytest.raises(UnreadableSelector, match=f"^At character {position + 1}: ") as caught:
        read_selector(text)
    assert caught.value.position == position
