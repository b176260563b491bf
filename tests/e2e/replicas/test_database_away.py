"""A database that is away stops changes, not answers."""

from databases import Postgres
from e2e.adapters import create
from e2e.process import until
from e2e.replicas.pair import LORA, MODEL, Pair, answered_by, infer, put_state


def test_what_is_resident_answers_and_all_is_well_afterwards(pair: Pair, postgres: Postgres, replicas_url: str) -> None:
    create(pair.one.http, MODEL, "resident", LORA, seed=1)
    until(lambda: answered_by(pair.other, "resident") == "resident@1")
    expected = infer(pair.one, "resident").json()["outputs"]
    with postgres.away(replicas_url):
        for service in pair:
            ready = service.http.get("/health/ready")
            assert (ready.status_code, "database is away" in ready.text) == (503, True), ready.text
            assert service.http.get("/health/live").status_code == 200
            assert infer(service, "resident").json()["outputs"] == expected
            refused = put_state(service, "resident", seed=2)
            assert refused.status_code == 503
            assert refused.headers["retry-after"].isdecimal()
    until(lambda: all(service.http.get("/health/ready").status_code == 200 for service in pair))
    assert put_state(pair.one, "resident", seed=3).json()["version"] == 2
    until(lambda: answered_by(pair.other, "resident") == "resident@2")
