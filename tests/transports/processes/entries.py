"""What hosts' processes run in these tests instead of a host."""

import ctypes
import os
import socket
import sys
import threading
from pathlib import Path

import msgspec
import torch

from service.transports.processes.host_start import end_with


class Description(msgspec.Struct):
    environment: str
    """With the arguments, both also of the process that it was forked from."""
    open_files: list[str]
    threads: int
    first_to_be_killed: int
    product: int


def echo(connection: socket.socket, order: bytes) -> None:
    """The order first, then whatever is sent, until the other side closes."""
    connection.sendall(order)
    while content := connection.recv(65_536):
        connection.sendall(content)


def describe(connection: socket.socket, order: bytes) -> None:
    """What a factory could find out here: `Description` as JSON."""
    processes = (Path("/proc/self"), Path(f"/proc/{os.getppid()}"))
    texts = [(process / name).read_bytes() for process in processes for name in ("environ", "cmdline")]
    beside_streams = [entry for entry in Path("/proc/self/fd").iterdir() if int(entry.name) > 2]
    description = Description(
        repr(dict(os.environ)) + b"\n".join(texts).decode(),
        # The listing itself was open while it ran.
        [str(entry.readlink()) for entry in beside_streams if entry.is_symlink()],
        torch.get_num_threads(),
        int(Path("/proc/self/oom_score_adj").read_text()),
        int((torch.ones(512, 512) @ torch.ones(512, 512)).sum()),
    )
    connection.sendall(msgspec.json.encode(description))


def paths(connection: socket.socket, order: bytes) -> None:
    connection.sendall("\n".join(sys.path).encode())


def allocate(connection: socket.socket, order: bytes) -> None:
    """Two allocations of so many bytes as were ordered, by Python and by torch."""
    for allocation in (lambda: bytearray(int(order)), lambda: torch.empty(int(order), dtype=torch.uint8)):
        try:
            allocation()
            connection.sendall(b"ok ")
        except (MemoryError, RuntimeError) as error:
            connection.sendall(f"{type(error).__name__} ".encode())


def belong_to_who_has_gone(connection: socket.socket, order: bytes) -> None:
    """As where the parent ended between the fork and the call: this process has another one by then."""
    end_with(parent=os.getpid())
    connection.sendall(b"still alive")


def segfault(connection: socket.socket, order: bytes) -> None:
    ctypes.string_at(0)


def exit_at_once(connection: socket.socket, order: bytes) -> None:
    os._exit(3)


def exit_by_exception(connection: socket.socket, order: bytes) -> None:
    sys.exit(4)


def fail(connection: socket.socket, order: bytes) -> None:
    raise ValueError("an entry that fails")


def return_beside_a_thread(connection: socket.socket, order: bytes) -> None:
    threading.Thread(target=threading.Event().wait).start()


def keep_the_interpreter(connection: socket.socket, order: bytes) -> None:
    """In a native call that never gives Python's lock back."""
    connection.sendall(b"!")
    ctypes.PyDLL(None).sleep(600)
