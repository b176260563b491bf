from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import END, byte_fallback, byte_level, word_piece
from transformers import PreTrainedTokenizerBase
from word_models import word_tokenizer

from models_registry.base_models.detokenizer import Detokenizer
from models_registry.base_models.stop_strings import StopStrings
from service.host.generation.text_stream import TextStream

Make = Callable[[], PreTrainedTokenizerBase]
KINDS: list[Make] = [byte_level, byte_fallback, word_piece, word_tokenizer]


def parts_of(detokenizer: Detokenizer, ids: Sequence[int], stops: StopStrings) -> list[str]:
    stream = TextStream(detokenizer, stops)
    parts: list[str] = []
    for id in ids:
        parts.append(stream.add(id))
        if stream.stopped:
            break
    return [*parts, stream.end()]


def cut(text: str, before: Sequence[str], behind: Sequence[str]) -> str:
    reader = StopStrings(before, behind)
    return reader.read(text) + reader.end()


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("longest", [6, 120])
def test_parts_make_what_all_tokens_give_up_to_the_first_stop(make: Make, longest: int) -> None:
    tokenizer = make()
    detokenizer = Detokenizer(tokenizer)
    ids = st.lists(st.integers(0, len(tokenizer) - 1), max_size=longest)
    stops = st.lists(st.sampled_from(["a", " the", "s.", "t's", "\N{REPLACEMENT CHARACTER}", "b c"]), max_size=2)

    @settings(max_examples=150, deadline=None)
    @given(ids, stops, stops)
    def check(ids: list[int], before: list[str], behind: list[str]) -> None:
        whole = tokenizer.decode(ids, skip_special_tokens=True)
        assert isinstance(whole, str)
        assert "".join(parts_of(detokenizer, ids, StopStrings(before, behind))) == cut(whole, before, behind)

    check()


@pytest.mark.parametrize("make", [byte_level, byte_fallback, word_piece])
def test_special_tokens_that_mark_calls_are_written_out(make: Make) -> None:
    tokenizer = make()
    silent, shown = Detokenizer(tokenizer), Detokenizer(tokenizer, [END, "no such token"])
    end = tokenizer.convert_tokens_to_ids(END)
    assert isinstance(end, int)
    ids = tokenizer("a the sea", add_special_tokens=False).input_ids
    given = [*ids, end, *ids * 12, end, end]
    assert END not in "".join(parts_of(silent, given, StopStrings([], [])))
    text = "".join(parts_of(shown, given, StopStrings([], [])))
    before, between, *behind = text.split(END)
    assert (before, between) == (silent.decode(ids), silent.decode(ids * 12))
    assert behind == ["", ""]


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_a_character_is_given_once_all_its_bytes_are_there(make: Make) -> None:
    tokenizer = make()
    ids = tokenizer("a😀 sea", add_special_tokens=False).input_ids
    parts = parts_of(Detokenizer(tokenizer), ids, StopStrings([], []))
    assert "".join(parts).strip() == "a😀 sea"
    assert all("\N{REPLACEMENT CHARACTER}" not in part for part in parts)
    assert sum("😀" in part for part in parts) == 1


def test_text_is_given_with_each_token() -> None:
    tokenizer = byte_level()
    ids = tokenizer("the sea is salty").input_ids
    assert all(parts_of(Detokenizer(tokenizer), ids, StopStrings([], []))[:-1])


def test_half_a_character_is_written_at_the_end() -> None:
    tokenizer = byte_level()
    first = tokenizer("😀").input_ids[0]
    stream = TextStream(Detokenizer(tokenizer), StopStrings([], []))
    assert stream.add(first) == ""
    assert stream.end() == "\N{REPLACEMENT CHARACTER}"


def test_special_tokens_give_no_text() -> None:
    tokenizer = byte_level()
    detokenizer = Detokenizer(tokenizer)
    end = tokenizer.convert_tokens_to_ids(END)
    assert isinstance(end, int)
    stream = TextStream(detokenizer, StopStrings([], []))
    assert (stream.add(end), stream.end()) == ("", "")
    assert detokenizer.piece(end) == END


def test_a_stop_string_is_found_across_tokens_and_half_characters() -> None:
    tokenizer = byte_level()
    ids = tokenizer("so 你好 is").input_ids
    assert "".join(parts_of(Detokenizer(tokenizer), ids, StopStrings(["你好"], []))) == "so "
    assert "".join(parts_of(Detokenizer(tokenizer), ids, StopStrings([], ["你"]))) == "so 你"


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_a_piece_is_what_a_token_adds_to_a_text(make: Make) -> None:
    tokenizer = make()
    detokenizer = Detokenizer(tokenizer)
    ids = tokenizer("the sea").input_ids
    assert "".join(map(detokenizer.piece, ids)).strip() == "the sea"
    assert detokenizer.piece(ids[-1])


def test_a_long_text_is_not_decoded_from_its_beginning_each_time() -> None:
    tokenizer = byte_level()
    lengths: list[int] = []

    class Counting(Detokenizer):
        def decode(self, ids: Sequence[int]) -> str:
            lengths.append(len(ids))
            return super().decode(ids)

    ids = tokenizer("the sea is salty " * 40).input_ids
    assert "".join(parts_of(Counting(tokenizer), ids, StopStrings([], []))) == "the sea is salty " * 40
    assert max(lengths) <= 32 < len(ids)


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
@pytest.mark.parametrize("before", ["", "a", "aa"])
def test_characters_across_what_is_decoded_again_stay_whole(make: Make, before: str) -> None:
    tokenizer = make()
    ids: list[int] = tokenizer(before + "😀ä" * 20, add_special_tokens=False).input_ids
    for end in ([], ids[-2:-1] * 3):
        whole = tokenizer.decode([*ids, *end], skip_special_tokens=True)
        assert "".join(parts_of(Detokenizer(tokenizer), [*ids, *end], StopStrings([], []))) == whole
