"""What Prometheus is told of the base models."""

from apps import ROWS, Start, create, expect, host
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient


def samples(client: TestClient) -> dict[str, float]:
    """Every sample, by its name without the prefix and its labels' values."""
    return {
        " ".join([sample.name.removeprefix("adapter_service_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


def test_counters_of_a_model_start_at_zero(start: Start) -> None:
    client = start(max_merged_bytes=12_345, max_resident_bytes=100_000)
    host(client, "mlp", "bases:mlp")
    fresh = samples(client)
    counters = ("adapter_loads", "adapter_evictions", "adapter_load_failures", "queue_full", "deadlines_passed")
    for counter in (
        *counters,
        "warm_requests",
        "cold_requests",
        "recomputed_texts",
        "generated_tokens",
        "prompt_tokens",
        "cached_prompt_tokens",
    ):
        assert fresh[f"{counter}_total mlp"] == 0
    gauges = ("waiting_requests", "waiting_rows", "pinned_adapter_versions", "adapter_bytes", "merged_bytes")
    for gauge in (*gauges, "running_texts", "cache_bytes", "copied_bytes"):
        assert fresh[f"{gauge} mlp"] == 0
    assert fresh["adapter_limit_bytes mlp"] == 100_000
    assert fresh["merged_limit_bytes mlp"] == 12_345

    create(client, "a")
    create(client, "b")
    expect(client.post("/models/mlp/adapters/b/unload"), 200)
    expect(client.post("/models/mlp/adapters/a/load?pin=true"), 200)
    expect(client.post("/models/mlp/infer", json={"adapter": ["a", None], "inputs": {"x": ROWS}}), 200)
    told = samples(client)
    assert [told[f"adapter_versions mlp {tier}"] for tier in ("stored", "staged", "resident")] == [1, 0, 1]
    assert told["pinned_adapter_versions mlp"] == 1
    assert told["adapter_bytes mlp"] > 0
    assert told["adapter_loads_total mlp"] == 2
    assert told["adapter_evictions_total mlp"] == 0
    assert [told[f"forward_rows_bucket {bound} mlp"] for bound in ("1.0", "2.0", "+Inf")] == [0, 1, 1]
    assert (told["forward_rows_count mlp"], told["forward_rows_sum mlp"]) == (1, 2)
    assert [told[f"forward_adapters_bucket {bound} mlp"] for bound in ("0.0", "1.0", "+Inf")] == [0, 1, 1]


def test_a_request_is_warm_where_all_its_adapters_are_in_memory(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    for name in ("a", "b"):
        create(client, name)
    expect(client.post("/models/mlp/adapters/b/unload"), 200)
    for adapter in (["a", "b"], ["b", "a"], "a", None):
        expect(client.post("/models/mlp/infer", json={"adapter": adapter, "inputs": {"x": ROWS}}), 200)
    told = samples(client)
    assert [told[f"{kind}_requests_total mlp"] for kind in ("warm", "cold")] == [2, 1]


def test_who_asks_one_adapter_again_and_again_sees_the_copies_that_are_made_for_it(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "hot")
    for _ in range(64):
        expect(client.post("/models/mlp/infer", json={"adapter": "hot", "inputs": {"x": ROWS}}), 200)
    told = samples(client)
    assert 0 < told["merged_bytes mlp"] <= told["merged_limit_bytes mlp"]


def test_no_adapter_has_a_figure_of_its_own(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "unheard-of-0")
    client.get("/metrics")
    before = samples(client).keys()
    for n in range(1, 4):
        create(client, f"unheard-of-{n}")
        expect(client.post("/models/mlp/infer", json={"adapter": f"unheard-of-{n}", "inputs": {"x": ROWS}}), 200)
    assert not [name for name in samples(client).keys() - before if not name.startswith(("request", "infer"))]
    assert "unheard-of" not in client.get("/metrics").text


def test_a_model_out_of_memory_has_a_state_and_stored_versions_only(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "a")
    expect(client.post("/models/mlp/unload"), 200)
    told = samples(client)
    assert told["models unloaded"] == 1
    assert told["adapter_versions mlp stored"] == 1
    assert "waiting_requests mlp" not in told
