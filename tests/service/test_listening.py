"""The address to listen on: taken at once, or refused in one sentence."""

import errno
import socket

import pytest

from models_registry.errors import Conflict, Invalid
from service.listening import bound_sockets


def test_a_taken_port_is_said_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"Port {port} of 127.0.0.1 is taken"), bound_sockets("127.0.0.1", port):
            pass


def test_two_that_start_at_the_same_moment_are_told_apart_once_one_listens() -> None:
    def start(port: int) -> None:
        with bound_sockets("127.0.0.1", port) as (second,):
            first.listen()
            second.listen()

    with bound_sockets("127.0.0.1", 0) as (first,), pytest.raises(Conflict, match="is taken"):
        start(first.getsockname()[1])


def test_callers_are_refused_until_the_service_listens() -> None:
    with bound_sockets("127.0.0.1", 0) as (bound,), socket.socket() as caller:
        assert caller.connect_ex(bound.getsockname()) == errno.ECONNREFUSED
        bound.listen()
        assert caller.connect_ex(bound.getsockname()) == 0


def test_an_address_that_is_not_ours_is_refused_with_the_reason() -> None:
    with pytest.raises(Invalid, match=r"Can't listen on port 80 of 192\.0\.2\.1: "), bound_sockets("192.0.2.1", 80):
        pass
    with pytest.raises(Invalid, match="no-such-host"), bound_sockets("no-such-host.invalid", 80):
        pass
