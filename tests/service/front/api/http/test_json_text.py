"""JSON as it is written, strictly."""

import json
from collections.abc import Callable

import pytest

from service.front.api.http.json_text import NotJson, parse_json, parse_tensors


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"[NaN]", 'write it as a string: "NaN"'),
        (b"[-Infinity]", '"-Infinity"'),
        (b"\xff", "not UTF-8"),
        (b'["\\ud800"]', "surrogate"),
        (b"[" * 100_000, "too deeply"),
        (b"1" * 10_000, "not JSON"),
        (b'{"r": 1, "r": 2}', 'key "r" more than once'),
        (b'[{"a": {"x": 1, "\\u0078": 1}}]', 'key "x" more than once'),
    ],
)
def test_what_is_no_json_is_malformed_and_says_why(body: bytes, words: str) -> None:
    with pytest.raises(NotJson, match=words):
        parse_json(body)


REPEATED = [
    b'{"r": 1, "r": 2}',
    b'{"x": [1, {"y": [[], {"r": 1, "\\u0072": 1}]}]}',
    b'{":": 1, "r": ":,:", "r\\"": "\\\\", "r": 1}',
]


@pytest.mark.parametrize("parse", [parse_json, parse_tensors])
@pytest.mark.parametrize("body", REPEATED)
def test_a_key_that_is_written_twice_is_refused_by_name(parse: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(NotJson, match='key "r" more than once'):
        parse(body)


@pytest.mark.parametrize("parse", [parse_json, parse_tensors])
def test_keys_may_come_again_in_other_objects_and_strings(parse: Callable[[bytes], object]) -> None:
    value = {"r": [{"r": ":"}, {"r": '"r": 1, "r": 2'}], ":": "\\"}
    assert parse(json.dumps(value).encode()) == value


def test_both_halves_of_a_surrogate_pair_are_a_character() -> None:
    assert parse_json(b'["\\ud83d\\ude00"]') == ["\N{GRINNING FACE}"]
