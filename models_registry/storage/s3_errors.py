"""What S3 complains about, in our own words.

`obstore` has few classes of errors and no fields for the answer that it was given, only its text.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from obstore.exceptions import BaseError

from models_registry.errors import NoRoom, Unavailable
from models_registry.redaction import redacted

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]+)</Message>")

_CAUSE = re.compile(r'\b(?:message|error): "([^"]+)"')

FULL = frozenset(
    {
        "QuotaExceeded",
        "QuotaExceededException",
        "InsufficientStorage",
        "XMinioStorageFull",
        "XMinioAdminBucketQuotaExceeded",
    }
)
ADVICE = {
    "NoSuchBucket": "Create it: the service never does.",
    "InvalidAccessKeyId": "Check AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "Check AWS_SECRET_ACCESS_KEY.",
    "AccessDenied": "Check what these credentials may do: list, read, write and delete objects.",
    "NotImplemented": "The store must know conditional writes (If-None-Match).",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to a request: `code` and `message` are S3's, empty where there were none."""

    status: int
    code: str
    message: str

    @property
    def is_full(self) -> bool:
        return self.status == 507 or self.code in FULL

    @property
    def is_refusal(self) -> bool:
        """Asking again doesn't help: somebody must change the bucket, the credentials or our settings."""
        return 300 <= self.status < 500 and self.status not in {408, 429}

    def __str__(self) -> str:
        said = ": ".join(part for part in (self.code, redacted(self.message.rstrip("."))) if part)
        return f"it answers {self.status} {said}".rstrip()


def answer_in(error: BaseException | None) -> Answer | None:
    """What the server answered, if it did."""
    text = str(error)
    status = _STATUS.search(text)
    if status is None:
        return None
    code, message = _CODE.search(text), _MESSAGE.search(text)
    return Answer(int(status[1]), code[1] if code else "", message[1] if message else "")


@contextmanager
def translated(store: str) -> Generator[None]:
    """Raise `NoRoom` or `Unavailable`, naming `store`, for whatever `obstore` raises inside.

    That an object isn't there or is there already says nothing about the store; who expects it catches it before this.
    """
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        answer = answer_in(error)
        if answer is None:
            raise Unavailable(f"Can't reach {store}: {redacted(_cause(str(error)).rstrip('.'))}.") from error
        if answer.is_full:
            raise NoRoom(f"No room left in {store} ({answer}); free some space and try again.") from error
        advice = ADVICE.get(answer.code, "")
        raise Unavailable(f"Can't use {store}: {answer}. {advice}".rstrip()) from error


def _cause(text: str) -> str:
    """Why there was no answer. The operating system's words stand deep in the text, under many of the library's own."""
    if found := _CAUSE.search(text):
        return found[1]
    return "no answer in time" if "TimedOut" in text else text.partition("\n")[0]
