"""What hosts' processes run in these tests that don't speak as a host does."""

import socket

from service.protocol.frames import frame

NONSENSE = b"\xc1 is never used in msgpack"


def half_a_frame(connection: socket.socket, order: bytes) -> None:
    connection.recv(1)
    (content,) = frame(b"a long head of which only a part arrives")
    connection.sendall(content[:20])


def nonsense(connection: socket.socket, order: bytes) -> None:
    (content,) = frame(NONSENSE)
    connection.sendall(content)
    while connection.recv(65_536):
        pass


def silent(connection: socket.socket, order: bytes) -> None:
    """Reads nothing, says nothing, until it is killed."""
    connection.getpeername()
    while True:
        connection.recv(1, socket.MSG_PEEK)
