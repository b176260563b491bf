"""What is sent again: what the service did not do, and what does no harm twice."""

import httpx
import pytest

from service.client import Client, Overloaded, Retries, Unavailable, Unreachable, adapter_calls, model_calls


class Scripted(httpx.BaseTransport):
    """Answers with one after the other of `answers`; an exception is raised."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def client_over(transport: Scripted, attempts: int = 3) -> Client:
    return Client("http://service", "ask_secret", retries=Retries(attempts, longest_s=0.0), transport=transport)


def busy(status: int) -> httpx.Response:
    return httpx.Response(status, json={"type": "overloaded", "detail": "full"}, headers={"Retry-After": "1"})


MODEL = httpx.Response(200, json={"id": "mlp", "state": "ready"})


def test_a_busy_service_is_asked_again() -> None:
    transport = Scripted(busy(429), busy(503), MODEL)
    assert client_over(transport).models.get("mlp").state == "ready"
    assert len(transport.requests) == 3


def test_the_last_attempts_answer_is_raised_with_its_retry_after() -> None:
    transport = Scripted(busy(429), busy(429), busy(429))
    with pytest.raises(Overloaded) as caught:
        client_over(transport).models.get("mlp")
    assert caught.value.retry_after_s == 1.0


def test_a_creation_is_repeated_under_the_same_key() -> None:
    created = httpx.Response(201, json={"id": "mlp", "state": "ready"})
    transport = Scripted(httpx.ReadError("cut"), created)
    client_over(transport).models.register("mlp", {"kind": "python", "factory": "bases:mlp"})
    keys = {request.headers["Idempotency-Key"] for request in transport.requests}
    assert len(transport.requests) == 2
    assert len(keys) == 1


def test_a_deletion_is_not_repeated_over_a_broken_connection() -> None:
    transport = Scripted(httpx.RemoteProtocolError("Server disconnected without sending a response."))
    with pytest.raises(Unreachable, match=r"broke: Server disconnected without sending a response\.$"):
        client_over(transport).adapters.delete("tone")
    assert len(transport.requests) == 1


def test_a_deletion_is_repeated_where_the_service_did_nothing() -> None:
    transport = Scripted(busy(503), httpx.Response(204))
    client_over(transport).adapters.delete("tone")
    assert len(transport.requests) == 2


def test_an_answer_that_is_no_problem_of_ours_is_quoted() -> None:
    transport = Scripted(httpx.Response(503, text="<html>the proxy is up, the service is not</html>"))
    with pytest.raises(Unavailable, match="the proxy is up"):
        client_over(transport, attempts=1).models.get("mlp")


def test_nobody_at_the_address_is_unreachable() -> None:
    transport = Scripted(httpx.ConnectError("refused"))
    with pytest.raises(Unreachable, match="Nothing answers at http://service"):
        client_over(transport, attempts=1).models.get("mlp")


def test_a_key_is_sent_and_stands_in_no_error() -> None:
    transport = Scripted(httpx.ConnectError("refused"))
    with pytest.raises(Unreachable) as caught:
        client_over(transport, attempts=1).models.get("mlp")
    assert transport.requests[0].headers["Authorization"] == "Bearer ask_secret"
    assert "ask_secret" not in str(caught.value)


def test_names_are_escaped_in_addresses() -> None:
    assert adapter_calls.get_adapter("a/b?c").path == "/adapters/a%2Fb%3Fc"
    assert model_calls.get_model("ü").path == "/models/%C3%BC"
