"""Keys that were wrong at the login, and what is said then."""

from service.front.access.failed_logins import FailedLogins

WRONG = "There is no such key, or it was revoked, or it has expired."


class FailedKeys:
    """Belongs to the event loop."""

    def __init__(self) -> None:
        self._failed = FailedLogins()

    def count(self, address: str | None) -> str:
        """What to say of another one from there."""
        wait_s = self._failed.count(address)
        return WRONG if wait_s is None else f"{WRONG} Many from here weren't valid: wait for {wait_s} seconds."
