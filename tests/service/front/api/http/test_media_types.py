"""Content types, in time that grows with their length alone."""

import pytest

from service.front.api.http.media_types import MediaType, parse_media_type


@pytest.mark.parametrize(
    ("header", "name", "parameters"),
    [
        ("application/json", "application/json", {}),
        (" Application/JSON ; Charset=UTF-8", "application/json", {"charset": "UTF-8"}),
        ('multipart/form-data; boundary="a;b \\"c\\\\"', "multipart/form-data", {"boundary": 'a;b "c\\'}),
        ("a/b;;  ; x=1;y=", "a/b", {"x": "1", "y": ""}),
        ("a/b; x=1; x=2", "a/b", {"x": "1"}),
        ("a/b; x=1 nonsense; y=2", "a/b", {"x": "1"}),
        ('a/b; x="open', "a/b", {"x": ""}),
        ("", "", {}),
        (";", "", {}),
    ],
)
def test_a_media_type_and_its_parameters_are_read(header: str, name: str, parameters: dict[str, str]) -> None:
    assert parse_media_type(header) == MediaType(name, parameters)


@pytest.mark.parametrize("part", [";", "; ", ' ;a="', ";a=b", ";a=\\", '"', ";  \t", '";'])
def test_a_header_that_repeats_one_part_is_read_to_an_end(part: str) -> None:
    assert parse_media_type("a/b" + part * 200_000).name.startswith("a/b")
