"""Text without its secrets: passwords in addresses, signatures of presigned URLs, keys and authorization headers.

What a driver or a library complains about may quote whatever it was given. `redacted` knows secrets by their form;
a `Redactor` also knows the values themselves, so that it finds them wherever they stand. Both take time that is linear
in the text's length.
"""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SHORTEST = 6
"""Shorter values are found by their form only: they would be found in every other word."""

_WORD = re.compile(r"[^\s'\"<>]+")
_PORT = re.compile(r"\d{1,5}[/?#]", re.ASCII)
_NAMED = (
    r"password|passwd|sslpassword|passphrase|(?:client[_-]?)?secret|x-api-key|api[_-]?key"
    r"|(?:aws[_-]?)?(?:secret|session|security)[_-]?(?:access[_-]?)?(?:key|token)|aws[_-]?access[_-]?key[_-]?id"
    r"|x-amz-(?:signature|credential|security-token)"
)
_IS = r"""(?:['"]?\s{0,9}[:=]|['"]\s{0,9},)\s{0,9}(?:b(?=['"]))?"""
_VALUE = r"""(?:'[^'\r\n]{0,4000}'|"[^"\r\n]{0,4000}"|[^\s'"&,;)}\]]{1,4000})"""
_FORMS = (
    # `authorization: Bearer …`, also as Python and ASGI write headers: the whole value, whatever words it has.
    re.compile(rf"""\b((?:(?:proxy-)?authorization|(?:set-)?cookie){_IS}['"]?)[^\r\n'"]{{1,4000}}""", re.IGNORECASE),
    re.compile(r"\b(bearer\s{1,9})[\w.~+/=-]{8,4000}", re.IGNORECASE | re.ASCII),
    # `password=…`, `"secret_access_key": "…"`, `?X-Amz-Signature=…`
    re.compile(rf"\b((?:{_NAMED}){_IS}){_VALUE}", re.IGNORECASE),
    re.compile(r"([?&](?:signature|sig|awsaccesskeyid)=)[^\s'\"&]{1,4000}", re.IGNORECASE),
    # Our own keys, and what begins as they do.
    re.compile(r"()\bask_[\w-]{8,200}", re.ASCII),
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    re.compile(r"\b()(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
)
_HINTS = ("auth", "cookie", "bearer", "pass", "secret", "key", "token", "x-amz", "sig", "akia", "asia", "ask_")
"""Each form needs one of them. Most lines have none, and are looked through twenty times faster for these."""


def redacted(text: str) -> str:
    """`text` with `***` in the place of whatever looks like a secret."""
    if "://" in text and "@" in text:
        text = _WORD.sub(lambda word: _without_userinfo(word[0]), text)
    lower = text.lower()
    if text.isascii() and not any(hint in lower for hint in _HINTS):  # beyond ASCII more letters count as an `s`
        return text
    for form in _FORMS:
        text = form.sub(rf"\1{HIDDEN}", text)
    return text


class Redactor:
    """`redacted`, that also hides these very values, as they are and as URLs, JSON and Python write them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spellings = {spelling for secret in secrets if len(secret) >= SHORTEST for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        return redacted(text if self._values is None else self._values.sub(HIDDEN, text))


def _without_userinfo(word: str) -> str:
    first, *addresses = word.split("://")
    return "://".join([first, *map(_hide_password, addresses)])


def _hide_password(address: str) -> str:
    """Of `user:password@host/…` the password, of `token@host/…` the token.

    A password may hold what should have been escaped (`p@ss/word`), but `host:8000/tone@prod` has none.
    """
    userinfo, at, host = address.rpartition("@")
    user, colon, password = userinfo.partition(":")
    if not at or set(user) & set("/?#") or _PORT.match(password):
        return address
    return f"{user}:{HIDDEN}@{host}" if colon else f"{HIDDEN}@{host}"


def _spellings(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
