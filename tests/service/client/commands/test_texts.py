"""Asking by the command line: rows, adapters beside each other, and a chat that streams."""

from collections.abc import Iterator

import pytest
from apps import RANDOM_LORA
from scripted_texts import ENDED, Call, Script, scripted

from models_registry.errors import NoRoom
from service.client import Client

from .conftest import Command


@pytest.fixture(scope="module")
def tone(client: Client) -> str:
    return client.adapters.create("spoken", RANDOM_LORA, model="mlp", seed=1).name


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted() as script:
        yield script


def say(call: Call) -> None:
    call.write("Yo ")
    call.write("ho!", end=ENDED)
    call.finish("Yo ho!")


def test_each_text_is_a_row(command: Command, tone: str, script: Script) -> None:
    script.act = lambda call: call.finish("one", "two")
    ran = command("infer", "mlp", "a", "b", "--adapter", tone)
    assert ran.out == "one\ntwo\n"
    assert f"{tone}@1: 'a'" in ran.err
    assert script.calls[0].call.inputs.texts == ("a", "b")


def test_adapters_answer_beside_the_base(command: Command, tone: str, script: Script) -> None:
    script.act = lambda call: call.finish("plain", "toned")
    said = command("compare", "mlp", "a", tone).out
    assert "plain" in said
    assert f"{tone}@1" in said


def test_a_chat_streams_switches_and_remembers(command: Command, tone: str, script: Script) -> None:
    script.act = say
    ran = command("chat", "mlp", lines=f"Hello\n/adapter {tone}\nAgain\n/new\nFresh\n/quit\n")
    assert ran.code == 0
    assert ran.out.count("Yo ho!") == 3
    chats = [[message["content"] for message in call.call.inputs.chats[0]] for call in script.calls]
    assert chats == [["Hello"], ["Hello", "Yo ho!", "Again"], ["Fresh"]]
    assert [bool(call.selections[0].parts) for call in script.calls] == [False, True, True]


def test_a_line_that_fails_can_be_said_again(command: Command, script: Script) -> None:
    def fail_then_say(call: Call) -> None:
        if len(script.calls) == 1:
            call.fail(NoRoom("There is no memory left."))
        else:
            say(call)

    script.act = fail_then_say
    ran = command("chat", "mlp", lines="First\nSecond\n")
    assert "There is no memory left." in ran.err
    (chat,) = script.calls[1].call.inputs.chats
    assert [message["content"] for message in chat] == ["Second"]
