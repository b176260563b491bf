"""A grammar of values that break what reads them: numbers, words, JSON, forms, headers and addresses of a hostile
caller."""

import json
import struct
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

WORDS = (
    *("", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "\N{GRINNING FACE}", "\N{RIGHT-TO-LEFT OVERRIDE}x", "é", "\n"),
    *("\r\nX: y", "\N{ARABIC-INDIC DIGIT ONE}", "a" * 200, "a" * 20_000, ";" * 300, "9" * 30, "1" * 5_000),
    *("..", "../..", "/", "//", "/etc/passwd", "a/b", "%", "%00", "%2e%2e", "~", ".", "-", "--"),
    *("*", "?", "(", "[", "(?P<", "(a+)+$", "(?:a{9}){9}", "a{99999}", "\\", "\\1", "(?<=a+)b"),
    *(".*", "(?i)x", "|", "^"),
    *("null", "None", "true", "NaN", "Infinity", "-inf", "1e999", "0x10", "1_000", "0", "-1"),
    *("tone", "tone@1", "tone@0", "tone@99999999999", "tone@prod", "tone@", "@", "@1", "mlp", "words", "x:tone"),
    *("utf-7", "idna", "zlib_codec", "float32", "complex64", "cuda:9", "meta", "cpu:99", "text-generation"),
    *("latest", "os:system", "__class__", "__proto__"),
    *("'; DROP TABLE adapters; --", "${jndi:x}", "<script>", "{}", "[]", '"', "'", ","),
)
NUMBERS = (
    *(0, -1, 1, 2, 7, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400),
    *(0.0, -0.0, 0.5, -0.5, 1e-320, 1e308, -1e308, 3.0),
)

words = st.sampled_from(WORDS) | st.text(max_size=8)
scalars = st.none() | st.booleans() | st.sampled_from(NUMBERS) | words
values = st.recursive(
    scalars | st.sampled_from([[], {}, [[]], [{}], {"": {}}]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutations(draw: st.DrawFn, template: Any) -> Any:
    """`template` with one to three of its parts replaced, left out, renamed or doubled."""
    value = json.loads(json.dumps(template))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value))
        parent, key = draw(st.sampled_from(places)) if places else (None, None)
        if parent is None:
            return deepcopy(draw(values))
        match draw(st.sampled_from(["replace", "replace", "replace", "drop", "rename", "double"])):
            case "drop":
                del parent[key]
            case "rename" if isinstance(parent, dict):
                parent[draw(words)] = parent.pop(key)
            case "double":
                parent[key] = [parent[key], parent[key]]
            case _:
                parent[key] = deepcopy(draw(values))
    return value


@st.composite
def texts(draw: st.DrawFn, value: Any) -> bytes:
    """`value` as JSON, or nearly so."""
    text = json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    match draw(st.sampled_from([*["plain"] * 20, "cut", "bom", "tail", "insert", "constant", "deep"])):
        case "cut":
            return text[: draw(st.integers(0, len(text)))]
        case "bom":
            return b"\xef\xbb\xbf" + text
        case "tail":
            return text + draw(st.binary(max_size=4))
        case "insert":
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.binary(max_size=4)) + text[at:]
        case "constant":
            return text.replace(b"1", draw(st.sampled_from([b"NaN", b"-Infinity", b"1e999", b"01", b"1" * 5_000])))
        case "deep":
            return text.replace(b"1", b"[" * 5_000 + b"]" * 5_000)
        case _:
            return text


@st.composite
def safetensors_files(draw: st.DrawFn, header: Mapping[str, Any], data: bytes) -> bytes:
    """A file of that header and data, with a hostile header, length or end."""
    text = draw(texts(draw(st.just(header) | mutations(header))))
    length = draw(st.sampled_from([len(text)] * 4 + [0, 2**63, len(text) + 9, max(len(text) - 1, 0)]))
    return (
        struct.pack("<Q", length) + text + data[: draw(st.sampled_from([len(data)] * 3 + [0, max(len(data) - 1, 0)]))]
    )


@st.composite
def forms(draw: st.DrawFn, parts: Mapping[str, bytes]) -> tuple[str, bytes]:
    """The content type and the body of a form of `parts`, one of them perhaps hostile."""
    body = b""
    for name, content in parts.items():
        named = draw(st.sampled_from([name.encode()] * 9 + [b"", b"\xff", b'a"b', name.upper().encode()]))
        disposition = draw(st.sampled_from([b'; filename="f"'] * 3 + _DISPOSITIONS))
        extra = draw(st.sampled_from([b""] * 4 + _PART_HEADERS))
        body += b'--line\r\nContent-Disposition: form-data; name="%s"%s\r\n%s\r\n' % (named, disposition, extra)
        body += content + b"\r\n"
    end = draw(st.sampled_from([b"--line--\r\n"] * 6 + [b"", b"--line", b"--line--x"]))
    return "multipart/form-data" + draw(st.sampled_from(["; boundary=line"] * 6 + _BOUNDARIES)), body + end


_DISPOSITIONS = [b"", b'; filename="', b"; filename*=utf-8''%ff", b'; filename="\xff\0"']
_PART_HEADERS = [b"Content-Type: x/y; charset=utf-7\r\n", b"Content-Transfer-Encoding: base64\r\n"]
_BOUNDARIES = ["", "; boundary=", '; boundary="line"; charset=utf-7', "; boundary=" + "l" * 300]
_HEADERS = (
    *(b'"', b'W/"', b"*", b'"a", "b"', b",,", b"bytes=0-", b"bytes=-0", b"bytes=9-1", b"bytes=0-0,2-3"),
    *(b"bytes=" + b"9" * 30 + b"-", b"1e-320", b"1e308", b"0.2"),
)

header_values = (
    st.sampled_from(WORDS).map(lambda word: word.encode("utf-8", "replace"))
    | st.binary(max_size=12)
    | st.sampled_from(
        [
            b'"',
            b'W/"',
            b"*",
            b'"a", "b"',
            b",,",
            b"bytes=0-",
            b"bytes=-0",
            b"bytes=9-1",
            b"bytes=0-0,2-3",
            b"bytes=" + b"9" * 30 + b"-",
            b"1e-320",
            b"1e308",
            b"0.2",
        ]
    )
).map(lambda value: bytes(byte for byte in value if byte == 9 or (byte >= 32 and byte != 127)).strip())
"""What HTTP's own parser lets through."""


@st.composite
def queries(draw: st.DrawFn, known: Sequence[str]) -> str:
    names = draw(st.lists(st.sampled_from([*known, *known, "nonsense"]) if known else words, max_size=3))
    pairs = [
        f"{quote(name, safe='', errors='replace')}={quote(draw(words), safe='', errors='replace')}" for name in names
    ]
    return "&".join([*pairs, *draw(st.lists(st.sampled_from(["%ff=%ff", "=", "&", "%", "a;b", "+"]), max_size=1))])


def encoded(word: str) -> str:
    """As a part of an address."""
    return quote(word, safe="", errors="replace")


def _places(value: Any) -> Any:
    """Every (parent, key) in `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(items):
        yield value, key
        yield from _places(child)
