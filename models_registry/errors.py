"""What can go wrong, as one tree. It knows nothing of HTTP;
`service/front/api/problems.py` translates it once.

RegistryError
├── NotFound            no such base model, adapter, version or alias
├── Conflict            the name is taken, the model is not loaded, the adapter is in use
│   └── Stale           a precondition (`If-Match`) is not the newest state
├── Invalid             well-formed but wrong; lists every offending thing at once
│   ├── Unsupported     a feature we refuse by name
│   ├── TooLong         more tokens than the model takes
│   ├── WithoutEffect   an adapter that could not act on the rows that asked for it
│   └── RowsLost        rows that can't be distinguished at a module where adapters differ between them
├── TooLarge            over a limit that the operator set
├── Overloaded          a queue or a quota is full; try again later
├── DeadlinePassed      the request takes longer than its caller allows
├── Cancelled           nobody waits for what was begun any more; nothing changed
├── Unavailable         a store or the service itself is away for now; try again later
├── NoRoom              the blob store, the database or the memory for adapters is full; nothing changed
│   └── LimitReached    the team may store no more; nothing changed
└── Damaged             bytes that don't have the digest they are stored under
"""

from collections.abc import Iterable

from models_registry.records import Fault


class RegistryError(Exception):
    """The root. `detail` is one sentence: what was wrong, with which key, and what to do. `hint` is another way to what
    the caller probably wants, where one is known: a call, a field, a setting."""

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint


class NotFound(RegistryError):
    pass


class Conflict(RegistryError):
    pass


class Stale(Conflict):
    pass


class Invalid(RegistryError):
    """Well-formed but wrong. `faults` holds every offending thing, so that a caller mends all of them at once."""

    def __init__(self, detail: str, faults: Iterable[Fault] = (), *, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        lines = [f"  {'.'.join(map(str, fault.loc))}: {fault.message}" for fault in self.further_faults]
        return "\n".join([self.detail, *lines])

    @property
    def further_faults(self) -> tuple[Fault, ...]:
        """Those that say more than `detail` does."""
        return tuple(fault for fault in self.faults if fault.message != self.detail)


class Unsupported(Invalid):
    pass


class TooLong(Invalid):
    """A text has more tokens than the model, or what is kept of it, has room for. Send a shorter one."""


class WithoutEffect(Invalid):
    pass


class RowsNotIndependent(Invalid):
    """More rows than one forward takes, and nothing has shown that they may be given to several. Send fewer."""


class RowsLost(Invalid):
    pass


class TooLarge(RegistryError):
    pass


class Overloaded(RegistryError):
    pass


class DeadlinePassed(RegistryError):
    pass


class Cancelled(RegistryError):
    """Raised by long work whose caller said, by a `stopped` of their own, that they don't wait for it any more."""


class Unavailable(RegistryError):
    pass


class NoRoom(RegistryError):
    pass


class LimitReached(NoRoom):
    """Over one of the limits that an admin set for what the team stores; `detail` names it. Trying again doesn't help:
    delete something, or have the limit raised."""


class Damaged(RegistryError):
    """`digest` names the blob that is not what was stored, `found` says what is there instead. Nothing is served."""

    def __init__(self, digest: str, found: str = "don't have that digest") -> None:
        super().__init__(
            f"The stored bytes of blob sha256:{digest} {found}; they are not served.",
            hint="Upload the same file again, which mends the blob, or restore the blob store from a backup.",
        )
        self.digest = digest
        self.found = found
