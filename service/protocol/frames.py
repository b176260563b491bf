"""Frames over a stream socket: a head that msgpack wrote, then the bytes of the tensors that it names.

`length of the head, length of the payload, head, payload`. Each tensor begins at a multiple of `ALIGNED` bytes, so that
it is used where it was received, without a copy.
"""

import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec
import torch
from torch import Tensor

from models_registry.dtypes import dtype_name, dtype_named

ALIGNED = 16
CHUNK = 1 << 18
MOST_BUFFERS = 512
_LENGTHS = struct.Struct("!IQ")
_PADDING = bytes(ALIGNED)


class TensorHead(msgspec.Struct, frozen=True, array_like=True):
    """A tensor in the payload. `place` is where its bytes are: "" in the payload itself."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    place: str = ""


def head_of(tensor: Tensor) -> TensorHead:
    return TensorHead(dtype_name(tensor.dtype), tuple(tensor.shape), tensor.nbytes)


def frame(head: bytes, tensors: Sequence[Tensor] = ()) -> list[bytes | memoryview]:
    """What is to be sent. The tensors' bytes are read when that happens, so nobody may write to them before."""
    buffers: list[bytes | memoryview] = []
    length = 0
    for tensor in tensors:
        if tensor.nbytes:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            buffers.append(memoryview(flat.view(torch.uint8).numpy()).cast("B"))  # pyright: ignore[reportArgumentType] - an array is a buffer
            length += tensor.nbytes
        if missing := -length % ALIGNED:
            buffers.append(_PADDING[:missing])
            length += missing
    return [_LENGTHS.pack(len(head), length) + head, *buffers]


def joined_frame(head: bytes, tensors: Sequence[Tensor] = ()) -> bytes:
    """A frame in one piece, for what carries messages whole."""
    return b"".join(frame(head, tensors))


def split_frame(content: bytes) -> tuple[bytes, bytearray]:
    """The head and the payload of a `joined_frame`."""
    head_length, _ = _LENGTHS.unpack_from(content)
    begin = _LENGTHS.size + head_length
    return content[_LENGTHS.size : begin], bytearray(memoryview(content)[begin:])


def read_tensors(heads: Iterable[TensorHead], payload: bytearray) -> list[Tensor]:
    """The tensors of a frame, in order; they share the payload's memory."""
    tensors: list[Tensor] = []
    at = 0
    for head in heads:
        dtype = dtype_named(head.dtype)
        if head.bytes:
            count = head.bytes // dtype.itemsize
            tensors.append(torch.frombuffer(payload, dtype=dtype, count=count, offset=at).reshape(head.shape))
        else:
            tensors.append(torch.empty(head.shape, dtype=dtype))
        at += head.bytes + -head.bytes % ALIGNED
    return tensors


class FrameWriter:
    """Any thread may send, and none waits: what the socket doesn't take at once is sent by a thread of the writer's
    own. What is sent after the other side has ended is dropped; who reads finds out."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._changed = threading.Condition()
        self._backlog: deque[bytes | memoryview] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None

    def send(self, buffers: Iterable[bytes | memoryview]) -> None:
        with self._changed:
            if self._closed:
                return
            if not self._backlog:
                buffers = self._send_now(list(buffers))
            self._backlog.extend(buffers)
            if self._backlog:
                self._begin_to_drain()
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._backlog.clear()
            self._changed.notify()

    def _send_now(self, buffers: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """What the socket doesn't take at once."""
        try:
            while buffers:
                buffers = _after(buffers, self._connection.sendmsg(buffers[:MOST_BUFFERS], [], socket.MSG_DONTWAIT))
        except BlockingIOError:
            return buffers
        except OSError:
            self._closed = True
            return []
        return buffers

    def _begin_to_drain(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._drain, name="frame writer", daemon=True)
            self._thread.start()

    def _drain(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._backlog or self._closed)
                if self._closed:
                    return
                buffers = [self._backlog[at] for at in range(min(len(self._backlog), MOST_BUFFERS))]
            # While there is a backlog nobody else sends.
            try:
                sent = self._connection.sendmsg(buffers)
            except OSError:
                self.close()
                return
            with self._changed:
                for _ in buffers:
                    if self._backlog:  # it may have been closed meanwhile
                        self._backlog.popleft()
                self._backlog.extendleft(reversed(_after(buffers, sent)))


def _after(buffers: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What is left of them behind the first `sent` bytes."""
    for index, buffer in enumerate(buffers):
        if sent < len(buffer):
            return [memoryview(buffer)[sent:], *buffers[index + 1 :]]
        sent -= len(buffer)
    return []


class FrameReader:
    """For one thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._chunk = bytearray(CHUNK)
        self._have = memoryview(self._chunk)[:0]

    def read(self) -> tuple[bytes, bytearray] | None:
        """A head and its payload; None once the other side has ended."""
        with suppress(OSError, EOFError):
            head_length, length = _LENGTHS.unpack(self._take(_LENGTHS.size))
            return bytes(self._take(head_length)), self._take(length)
        return None

    def _take(self, length: int) -> bytearray:
        """The next `length` bytes. Raises `EOFError`."""
        taken = bytearray(length)
        view = memoryview(taken)
        at = 0
        while at < length:
            if not self._have:
                if length - at >= CHUNK:  # straight to where it belongs
                    at += self._received(view[at:])
                    continue
                self._have = memoryview(self._chunk)[: self._received(memoryview(self._chunk))]
            count = min(length - at, len(self._have))
            view[at : at + count] = self._have[:count]
            self._have = self._have[count:]
            at += count
        return taken

    def _received(self, into: memoryview) -> int:
        if (count := self._connection.recv_into(into)) == 0:
            raise EOFError
        return count
