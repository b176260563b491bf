"""Label selectors as Kubernetes writes them: `stage=prod,lang in (de,en),!retired`. All requirements must be met."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*(?:(?P<symbol>==|!=|=|!|\(|\)|,)|(?P<word>[A-Za-z0-9][A-Za-z0-9._/-]*))?")
_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,62}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?)?")
MOST = 64
"""So many requirements at most."""


class UnreadableSelector(Exception):
    """`position` counts the characters before what is wrong."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"At character {position + 1}: {message}.")
        self.position = position


@dataclass(frozen=True, slots=True)
class Requirement:
    """The label `key` has one of the `values`, or any (None); `negated` where it must not, or must not be there. A
    label that isn't there has no value, so that it meets what is negated."""

    key: str
    values: frozenset[str] | None = None
    negated: bool = False

    def is_met(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        found = value is not None and (self.values is None or value in self.values)
        return found != self.negated


Selector = tuple[Requirement, ...]


def is_selected(labels: Mapping[str, str], selector: Sequence[Requirement]) -> bool:
    return all(requirement.is_met(labels) for requirement in selector)


def read_selector(text: str) -> Selector:
    """Raises `UnreadableSelector`."""
    return _Reader(text).read()


@dataclass(frozen=True, slots=True)
class _Token:
    """`text` is empty at the end."""

    text: str
    position: int
    is_word: bool = False


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0

    def read(self) -> Selector:
        found: list[Requirement] = []
        while True:
            found.append(self._requirement())
            separator = self._take()
            if not separator.text:
                return tuple(found)
            if separator.text != ",":
                raise UnreadableSelector(separator.position, f"a comma belongs before {separator.text!r}")
            if len(found) == MOST:
                raise UnreadableSelector(separator.position, f"there are more than {MOST} requirements")

    def _requirement(self) -> Requirement:
        if self._peek().text == "!":
            self._take()
            return Requirement(self._key(), negated=True)
        key = self._key()
        operator = self._peek()
        match operator.text:
            case "=" | "==" | "!=":
                self._take()
                return Requirement(key, frozenset([self._value()]), negated=operator.text == "!=")
            case "in" | "notin":
                self._take()
                return Requirement(key, self._values(), negated=operator.text == "notin")
            case _ if operator.is_word or operator.text in {"!", "("}:
                message = f"{operator.text!r} is no operator; write =, ==, !=, in or notin"
                raise UnreadableSelector(operator.position, message)
            case _:
                return Requirement(key)

    def _key(self) -> str:
        token = self._take()
        if not token.is_word or not _KEY.fullmatch(token.text):
            raise UnreadableSelector(token.position, f"a label's name belongs here, not {_told(token)}")
        return token.text

    def _value(self) -> str:
        """May be empty, as a label's may."""
        if not self._peek().is_word:
            return ""
        token = self._take()
        if not _VALUE.fullmatch(token.text):
            raise UnreadableSelector(token.position, f"{token.text!r} is no label's value")
        return token.text

    def _values(self) -> frozenset[str]:
        self._expect("(")
        values = {self._value()}
        while self._peek().text == ",":
            self._take()
            values.add(self._value())
        self._expect(")")
        return frozenset(values)

    def _expect(self, symbol: str) -> None:
        token = self._take()
        if token.text != symbol:
            raise UnreadableSelector(token.position, f"{symbol!r} belongs here, not {_told(token)}")

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek()
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token


def _told(token: _Token) -> str:
    return repr(token.text) if token.text else "the end"


def _tokens(text: str) -> Sequence[_Token]:
    """With one that is empty at the end."""
    tokens: list[_Token] = []
    position = 0
    while position < len(text.rstrip()):
        found = _TOKEN.match(text, position)
        assert found is not None  # everything in it is optional
        token = found["symbol"] or found["word"]
        if token is None:
            position = found.end()
            raise UnreadableSelector(position, f"{text[position]!r} has no place in a selector")
        tokens.append(_Token(token, found.end() - len(token), found["word"] is not None))
        position = found.end()
    return [*tokens, _Token("", len(text))]
