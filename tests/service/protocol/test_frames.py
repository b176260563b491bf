"""Frames over a socket pair: what is sent arrives bit by bit, whole or not at all, and nobody waits to send."""

import socket
import threading
from collections.abc import Iterator

import pytest
import torch
from engines import TIMEOUT_S, eventually
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from service.protocol.frames import CHUNK, FrameReader, FrameWriter, frame, head_of, read_tensors

Pair = tuple[socket.socket, socket.socket]

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool),
)
SHAPES = ((), (0,), (3,), (2, 0, 4), (2, 3), (1, 1, 1), (5, 7, 2))


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def sent_and_read(head: bytes, tensors: list[Tensor]) -> tuple[bytes, list[Tensor]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = FrameWriter(ours)
        writer.send(frame(head, tensors))
        received = FrameReader(theirs).read()
        writer.close()
    assert received is not None
    return received[0], read_tensors([head_of(tensor) for tensor in tensors], received[1])


def tensor_of(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> Tensor:
    numbers = torch.randint(-100, 100, shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(torch.float32).to(dtype) if dtype.is_floating_point else numbers.to(dtype)


@given(
    st.binary(max_size=100),
    st.lists(st.builds(tensor_of, st.sampled_from(DTYPES), st.sampled_from(SHAPES), st.integers(0, 9)), max_size=5),
)
def test_tensors_of_every_dtype_and_shape_arrive_as_they_are(head: bytes, tensors: list[Tensor]) -> None:
    got, arrived = sent_and_read(head, tensors)
    assert got == head
    for sent, came in zip(tensors, arrived, strict=True):
        assert (came.dtype, came.shape) == (sent.dtype, sent.shape)
        assert bits(came) == bits(sent)


def test_numbers_that_are_none_arrive_bit_by_bit() -> None:
    tensor = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    _, (came,) = sent_and_read(b"", [tensor])
    assert bits(came) == bits(tensor)


def test_views_arrive_as_what_they_show() -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    views = [whole.T, whole[::2, 1:3], whole[0].expand(3, 6)]
    _, arrived = sent_and_read(b"", views)
    assert all(torch.equal(came, view) for came, view in zip(arrived, views, strict=True))


def test_a_sender_does_not_wait_for_a_slow_reader(pair: Pair) -> None:
    writer, reader = FrameWriter(pair[0]), FrameReader(pair[1])
    tensors = [torch.full((50 * CHUNK,), turn, dtype=torch.uint8) for turn in range(3)]
    for turn, tensor in enumerate(tensors):
        writer.send(frame(bytes([turn]), [tensor]))  # returns, or this test never ends
    for turn, tensor in enumerate(tensors):
        received = reader.read()
        assert received is not None
        assert received[0] == bytes([turn])
        assert torch.equal(read_tensors([head_of(tensor)], received[1])[0], tensor)
    writer.close()


def test_frames_of_several_threads_arrive_whole(pair: Pair) -> None:
    writer, reader = FrameWriter(pair[0]), FrameReader(pair[1])

    def send(number: int) -> None:
        for _ in range(20):
            writer.send(frame(bytes([number]), [torch.full((3 * CHUNK // 2,), number, dtype=torch.uint8)]))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        received = reader.read()
        assert received is not None
        assert received[1] == received[0] * len(received[1])
    for thread in threads:
        thread.join(TIMEOUT_S)
    writer.close()


@pytest.mark.parametrize("length", [1, 11, 12, 13, 40])
def test_a_frame_that_was_cut_is_not_read(pair: Pair, length: int) -> None:
    content = b"".join(frame(b"head", [torch.arange(20, dtype=torch.uint8)]))
    pair[0].sendall(content[:length])
    pair[0].close()
    assert FrameReader(pair[1]).read() is None


def test_what_is_sent_after_the_other_side_has_ended_is_dropped(pair: Pair) -> None:
    writer = FrameWriter(pair[0])
    pair[1].close()
    for _ in range(3):
        writer.send(frame(b"head", [torch.zeros(4 * CHUNK, dtype=torch.uint8)]))


def test_a_writer_that_is_closed_ends_its_thread_and_forgets_what_waits(pair: Pair) -> None:
    before = set(threading.enumerate())
    writer = FrameWriter(pair[0])
    writer.send(frame(b"head", [torch.zeros(50 * CHUNK, dtype=torch.uint8)]))
    writer.close()
    pair[0].shutdown(socket.SHUT_RDWR)
    eventually(lambda: set(threading.enumerate()) == before)


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
