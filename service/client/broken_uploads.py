"""What is known of an upload whose connection broke: whether anything can be stored, and what to do."""

from service.client.errors import Unreachable, UploadBroken
from service.client.uploads import Watch


class SentSoFar:
    """How much of a file was sent, at most, in all attempts of its upload."""

    def __init__(self, watch: Watch | None) -> None:
        self._watch = watch
        self._sent = 0
        self._total = 0

    def watch(self, sent: int, total: int) -> None:
        self._sent, self._total = max(self._sent, sent), total
        if self._watch is not None:
            self._watch(sent, total)

    def explain(self, error: Unreachable, dry_run: bool) -> Unreachable:
        """The error with what it means for what was sent; as it is where nothing was."""
        if not self._sent:
            return error
        may_be_stored = not dry_run and self._sent >= self._total
        if may_be_stored:
            meaning = "All of it was sent and only the answer is missing, so it may be stored. Push it again: what is "
            meaning += "there already isn't stored twice."
        elif dry_run:
            meaning = "It was only checked, and nothing was stored. Try it again."
        else:
            meaning = f"Of {self._total:,} bytes {self._sent:,} were sent, and nothing was stored. Push it again, from "
            meaning += "its beginning."
        return UploadBroken(f"{error} {meaning}", self._sent, self._total, may_be_stored)
