"""Requests that Schemathesis makes up from the OpenAPI document, right and wrong: the answers must be as it says."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import schemathesis
import torch
from apps import ROWS, create, host, safetensors, settings_in
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from openapi_file import committed_document
from schemathesis.checks import load_all_checks
from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from service.bootstrap import create_app

LONGEST_ADDRESS = 65_536
"""Of the client that the tests have."""
# Instead of `not_a_server_error`, which takes the 504 of a made-up X-Request-Timeout for one.
SERVER_ERRORS = {500, 502, 503, 507}
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
FILES = st.one_of(st.just(safetensors(x=torch.tensor(ROWS))), st.binary())

schema: Any = schemathesis.openapi.from_dict(committed_document())

# The client has a key; made-up ones beside it would only be refused.
schema.config.generation.update(with_security_parameters=False)

OPERATIONS: dict[str, Any] = {found.ok().label: found.ok() for found in schema.get_all_operations()}

NAMED = {"model": "mlp", "reference": "tone"}
KNOWN = {
    "model_id": "mlp",
    "name": "tone",
    "alias": "prod",
    "version": "1",
    "id": "aaaaaaaa",
    "team": "default",
    **NAMED,
}

schemathesis.openapi.media_type("application/vnd.safetensors", FILES)


@schemathesis.serializer("application/vnd.safetensors")
def as_it_is(_: object, file: Any) -> Any:
    return file


@pytest.fixture(scope="module")
def hosting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An app of its own, for who knows what is sent there."""
    limits: dict[str, Any] = {"max_upload_bytes": 100_000, "admin_key": "the-operators-own-key"}
    app = create_app(settings_in(tmp_path_factory.mktemp("schema"), **limits))
    headers = {"x-api-key": limits["admin_key"]}
    with TestClient(app, raise_server_exceptions=False, headers=headers) as client:
        host(client, "mlp", "bases:mlp")
        create(client, "tone")
        yield client


def made_up(number: int) -> settings:
    """So many requests for each operation, the same ones each time."""
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_as_the_document_says(operation: str, hosting: TestClient) -> None:
    ask(operation, hosting, made_up(10))


@pytest.mark.deep
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_one_of_very_many_answers_is_as_the_document_says(operation: str, hosting: TestClient) -> None:
    ask(operation, hosting, made_up(300))


def ask(operation: str, hosting: TestClient, how: settings) -> None:
    """What `schema.parametrize()` does, but here: it makes up the cases of all operations where tests are only
    collected, which takes each worker ten seconds."""
    load_all_checks()

    def require(case: schemathesis.Case[Any]) -> None:
        require_documented(case, hosting)

    config = HypothesisTestConfig(project=schema.config, modes=list(HypothesisTestMode), explicit_settings=how)
    create_test(operation=OPERATIONS[operation], test_func=require, config=config)()


def follows(url: str) -> bool:
    """Whether the answer would have no end; test_event_follower.py reads such ones."""
    asked = parse_qs(urlsplit(url).query)
    return any(value.lower() in {"1", "on", "t", "true", "y", "yes"} for value in asked.get("follow", ()))


def require_documented(case: schemathesis.Case[Any], hosting: TestClient) -> None:
    # Names made up at random lead nowhere; with these, most requests get past the first 404. But none may end them.
    if case.method != "DELETE" and not case.path.endswith("/unload"):
        case.path_parameters.update((key, KNOWN[key]) for key in case.path_parameters)
    sent: Any = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
    assume(len(sent.url) < LONGEST_ADDRESS)
    assume(not follows(sent.url))
    answer = hosting.request(sent.method, sent.url, headers=dict(sent.headers), content=sent.body)
    assert answer.status_code not in SERVER_ERRORS, answer.text
    case.validate_response(answer, checks=CHECKS)
