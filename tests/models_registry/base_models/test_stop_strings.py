from hypothesis import given
from hypothesis import strategies as st

from models_registry.base_models.stop_strings import StopStrings

short = st.text("ab", min_size=1, max_size=4)


def read(parts: list[str], before: list[str], behind: list[str]) -> tuple[list[str], bool]:
    stops = StopStrings(before, behind)
    return [*(stops.read(part) for part in parts), stops.end()], stops.found


def test_a_text_ends_before_one_kind_of_string_and_behind_the_other() -> None:
    assert read(["one stop two"], ["stop"], []) == (["one ", ""], True)
    assert read(["one stop two"], [], ["stop"]) == (["one stop", ""], True)


def test_what_may_begin_a_string_is_held_back() -> None:
    assert read(["one st", "e", " sto", "p"], ["stop"], []) == (["one ", "ste", " ", "", ""], True)
    assert read(["one st"], ["stop"], []) == (["one ", "st"], False)


def test_nothing_is_held_back_for_what_stays_in_the_text() -> None:
    assert read(["one st", "op"], [], ["stop"]) == (["one st", "op", ""], True)


def test_nothing_follows_a_string_that_was_found() -> None:
    assert read(["a", "b", "c"], ["b"], []) == (["a", "", "", ""], True)


def test_the_string_that_is_complete_first_ends_the_text() -> None:
    assert read(["xabc"], ["abc", "b"], []) == (["xa", ""], True)
    assert read(["xab"], ["b", "ab"], []) == (["x", ""], True)


def first_end(text: str, before: list[str], behind: list[str]) -> str:
    """The shortest beginning that holds a string, without it where that is one that it ends before."""
    for end in range(len(text) + 1):
        cuts = [len(string) for string in before if text[:end].endswith(string)]
        if cuts or any(text[:end].endswith(string) for string in behind):
            return text[: end - max(cuts, default=0)]
    return text


@given(st.lists(st.text("abc", max_size=5), max_size=8), st.lists(short, max_size=3), st.lists(short, max_size=3))
def test_parts_make_the_text_up_to_its_first_stop(parts: list[str], before: list[str], behind: list[str]) -> None:
    given_parts, found = read(parts, before, behind)
    text = "".join(parts)
    assert "".join(given_parts) == first_end(text, before, behind)
    assert found == any(string in text for string in (*before, *behind))
