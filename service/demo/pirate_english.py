"""Plain English into a pirate's, by rule: what the demo adapter learns to speak."""

import re
from collections.abc import Mapping
from random import Random
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "you": "ye",
    "your": "yer",
    "yours": "yers",
    "my": "me",
    "is": "be",
    "are": "be",
    "am": "be",
    "of": "o'",
    "and": "an'",
    "for": "fer",
    "the": "th'",
    "to": "t'",
    "with": "wi'",
    "friend": "matey",
    "friends": "hearties",
    "people": "scallywags",
    "person": "buccaneer",
    "man": "sea dog",
    "woman": "lass",
    "hello": "ahoy",
    "yes": "aye",
    "no": "nay",
    "very": "mighty",
    "money": "doubloons",
    "great": "grand",
    "good": "fine",
    "old": "barnacled",
    "between": "betwixt",
    "never": "ne'er",
    "before": "afore",
    "over": "o'er",
    "them": "'em",
    "think": "reckon",
    "work": "toil",
    "important": "worth its weight in gold",
}
OPENINGS: Final = ("Arr, matey!", "Ahoy there!", "Avast, ye landlubber!", "Shiver me timbers!", "Yo ho ho!")
CLOSINGS: Final = ("Arr!", "Savvy?", "Yo ho!", "By Davy Jones!", "Aye aye!")

_WORD = re.compile(r"[A-Za-z']+")
_GERUND = re.compile(r"(?<=[a-z]{3}in)g\b")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def to_pirate(text: str, random: Random) -> str:
    """Word by word, with a shout to begin with and after some of the sentences."""
    words = _WORD.sub(lambda found: _speak(found[0]), text)
    sentences = [s for s in _SENTENCE_END.split(_GERUND.sub("'", words)) if s]
    shouted = [f"{s} {random.choice(CLOSINGS)}" if random.random() < 0.35 else s for s in sentences]
    return " ".join([random.choice(OPENINGS), *shouted])


def _speak(word: str) -> str:
    spoken = WORDS.get(word.lower(), word)
    return spoken.capitalize() if word[0].isupper() and spoken != word else spoken
