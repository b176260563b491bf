"""What is hidden, in whatever words it stands, and what is not."""

import pytest

from models_registry.redaction import Redactor, redacted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:s3cret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("'postgres://me:p@ss/w:rd@host/db' is wrong", "'postgres://me:***@host/db' is wrong"),
        ("https://token@host/path", "https://***@host/path"),
        ("see https://host/?to=s3://id:key@bucket now", "see https://host/?to=s3://id:***@bucket now"),
        ("connect(password='se cret', host='h')", "connect(password=***, host='h')"),
        ("host=h password=s3cret dbname=d", "host=h password=*** dbname=d"),
        ("?password=s3cret&x=1", "?password=***&x=1"),
        ('{"aws_secret_access_key": "ab/cd+ef", "region": "r"}', '{"aws_secret_access_key": ***, "region": "r"}'),
        ("AWS_SESSION_TOKEN=abc", "AWS_SESSION_TOKEN=***"),
        (
            "https://b.host/k?X-Amz-Credential=AKIA%2F1&X-Amz-Expires=900&X-Amz-Signature=0af1",
            "https://b.host/k?X-Amz-Credential=***&X-Amz-Expires=900&X-Amz-Signature=***",
        ),
        ("/k?AWSAccessKeyId=AKIA&Signature=a%2Bb&Expires=1", "/k?AWSAccessKeyId=***&Signature=***&Expires=1"),
        ("key AKIAIOSFODNN7EXAMPLE is unknown", "key *** is unknown"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("authorization: AWS4-HMAC-SHA256 Credential=a, Signature=b\nhost: h", "authorization: ***\nhost: h"),
        ("[(b'host', b'h'), (b'authorization', b'Basic YTpi')]", "[(b'host', b'h'), (b'authorization', b'***')]"),
        ("{'Authorization': 'Bearer abc', 'X-API-Key': 'def'}", "{'Authorization': '***', 'X-API-Key': ***}"),
        ("got Bearer abcdefgh.ijk", "got Bearer ***"),
    ],
)
def test_a_secret_is_hidden_by_its_form(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://host:5432/db",
        "http://127.0.0.1:8000/adapters/tone@prod",
        "https://host/adapters/tone@prod",
        "sqlite:////data/registry.db",
        'password authentication failed for user "me"',
        "a token of the vocabulary, 5 tokens, signature=(x, y)",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_known_value_is_hidden_however_it_is_written() -> None:
    redactor = Redactor(['p@ss "word"', "wJalrXUtnFEMI/K7MDENG"])
    assert redactor('it is p@ss "word".') == "it is ***."
    assert redactor("p%40ss%20%22word%22 or p%40ss+%22word%22") == "*** or ***"
    assert redactor('{"p": "p@ss \\"word\\""}') == '{"p": "***"}'
    assert redactor("signed with wJalrXUtnFEMI/K7MDENG") == "signed with ***"


def test_a_value_that_is_too_short_is_no_reason_to_hide_words() -> None:
    assert Redactor(["", "pw"])("the pwd is empty") == "the pwd is empty"
    assert Redactor(["pw"])("postgresql://me:pw@host") == "postgresql://me:***@host"
