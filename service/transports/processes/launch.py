"""What a new host's process reads from its socket first, and the two ways to start one have in common."""

import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from models_registry.errors import Unavailable
from service.transports.processes.host_process import HostProcess

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True, slots=True)
class Launch:
    """`entry` is `package.module:function`; it is called with the host's end of the socket and with `order`, bytes that
    only it understands. Once it returns, the process ends.

    `threads` are torch's in this process. `memory_bytes` bounds its private memory in all (`RLIMIT_DATA`): about 350 MB
    that libraries take, the model, and files of weights while they are mapped; an allocation beyond it fails. `paths`
    becomes its `sys.path`.
    """

    entry: str
    order: bytes = b""
    threads: int = 1
    memory_bytes: int | None = None
    paths: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))


Entry = Callable[[socket.socket, bytes], None]


class Launcher(Protocol):
    """Starts processes. The caller of `launch` closes the `socket` of what it returns."""

    def start(self) -> None:
        """Begin with what every launch needs, so that the first one needn't wait for it. Raises `Unavailable`."""
        ...

    def launch(self, launch: Launch) -> HostProcess:
        """Returns once the process exists; `entry` may still be importing. Raises `Unavailable`."""
        ...

    def close(self) -> None:
        """End every process that was launched and return once they have ended."""
        ...


def require_linux() -> None:
    """Raises `Unavailable` elsewhere, because nothing there would end a host whose front was killed."""
    if sys.platform != "linux":
        raise Unavailable(
            "Hosts in processes of their own need Linux (pidfd, PR_SET_PDEATHSIG, RLIMIT_DATA); "
            "set ADAPTER_SERVICE_TRANSPORT=in_process here."
        )


def send_launch(connection: socket.socket, launch: Launch) -> None:
    content = msgspec.msgpack.encode(launch)
    with suppress(ConnectionError):  # it has ended already, and its `exit` says how
        connection.sendall(_LENGTH.pack(len(content)) + content)


def receive_launch(connection: socket.socket) -> Launch | None:
    """None where the front closed its end before it had sent everything."""
    header = connection.recv(_LENGTH.size, socket.MSG_WAITALL)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    content = connection.recv(length, socket.MSG_WAITALL)
    return msgspec.msgpack.decode(content, type=Launch) if len(content) == length else None
