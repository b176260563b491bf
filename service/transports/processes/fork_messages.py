"""What the fork server reports to the front, one message a packet. Launches are numbered by the front."""

import msgspec


class Forked(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """With the pidfd of the new process in the same packet."""

    launch: int
    pid: int


class Refused(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The kernel gave no process."""

    launch: int
    reason: str


class Ended(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """`code` is an exit code, or minus the number of a signal."""

    launch: int
    code: int


Report = Forked | Refused | Ended
