"""What a repeated job logs of its failures: a line when they begin or change, and one when they have ended."""

import logging


class TroubleLog:
    """Of one job. Not safe under threads."""

    def __init__(self, log: logging.Logger, recovered: str) -> None:
        """`recovered` is logged at the first success after a failure."""
        self._log = log
        self._recovered = recovered
        self._last: str | None = None

    def failed(self, trouble: str) -> bool:
        """The job failed. Whether this was logged: the same trouble is logged once."""
        is_new = trouble != self._last
        if is_new:
            self._log.warning(trouble)
        self._last = trouble
        return is_new

    def succeeded(self) -> None:
        if self._last is not None:
            self._log.info(self._recovered)
        self._last = None
