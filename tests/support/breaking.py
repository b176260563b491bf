"""A way to a service that breaks: each connection is cut once it has carried so many bytes to it."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

BLOCK = 1 << 12


class BreakingWay:
    """`address` leads to the service. While `after` is a number of bytes, a connection is ended that is to carry more
    of them there; `broken` counts these."""

    def __init__(self, service: str) -> None:
        self.after: int | None = None
        self.broken = 0
        parts = urlsplit(service)
        self._service = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BLOCK)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._carry, args=(caller,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _carry(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(self._service) as service:
            threading.Thread(target=_copy, args=(service, caller), daemon=True).start()
            carried = 0
            while block := _receive(caller):
                carried += len(block)
                if self.after is not None and carried > self.after:
                    self.broken += 1
                    break
                service.sendall(block)
            for end in (caller, service):
                _shut(end)


def _copy(source: socket.socket, target: socket.socket) -> None:
    while block := _receive(source):
        try:
            target.sendall(block)
        except OSError:
            return
    _shut(target)


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(BLOCK)
    except OSError:
        return b""


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was first


@contextmanager
def breaking_way(service: str) -> Generator[BreakingWay]:
    way = BreakingWay(service)
    thread = threading.Thread(target=way.serve)
    thread.start()
    try:
        yield way
    finally:
        way.close()
        thread.join()
