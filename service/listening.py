"""The address to listen on, taken before anything is loaded: whether it is free is known at once."""

import errno
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

from models_registry.errors import Conflict, Invalid


@contextmanager
def bound_sockets(host: str, port: int) -> Generator[list[socket.socket]]:
    """A socket for each address that `host` means. They don't listen yet: until the service is there, callers are
    refused rather than kept waiting. Raises `Conflict` if the port is taken, `Invalid` for an address that isn't ours.
    """
    with ExitStack() as opened:
        try:
            found = dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
            sockets = [opened.enter_context(_bind(family, address)) for family, _, _, _, address in found]
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _taken(host, port) from error
            raise Invalid(f"Can't listen on port {port} of {host}: {error.strerror}.") from error
        try:
            yield sockets
        except OSError as error:
            if error.errno == errno.EADDRINUSE:  # another process that starts at this moment has listened first
                raise _taken(host, port) from error
            raise


def _bind(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _taken(host: str, port: int) -> Conflict:
    return Conflict(f"Port {port} of {host} is taken: another process listens there. Stop it, or choose another port.")
