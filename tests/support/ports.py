"""Ports that nobody else gets between their being chosen and their server's listening, nor while that is restarted."""

import socket


def hold_port() -> socket.socket:
    """A socket on a port that nothing else is on; it never listens. Servers set SO_REUSEADDR, and beside this one,
    which has it too, may listen on its port; the system gives that to nobody who asks for any."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def number_of(held: socket.socket) -> int:
    return held.getsockname()[1]
