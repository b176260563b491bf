"""What docs/operations/sizing.md says of memory: a front, a host, base models, adapters, texts. `SIZING` names another
base model, a directory of `var/models`, and `SIZING_DTYPE` its dtype."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.bench.figures import Count
from tests.bench.processes import hosts_of, our_service
from tests.e2e.process import Service, until

ADAPTERS, TEXTS = 32, 8
LORA = {"peft_type": "LORA", "r": 16, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
PROMPT, NEW_TOKENS = "the ship leaves a harbour at dawn. " * 32, 256
MB = 1 << 20


def sizing(directory: Path) -> Iterator[Count]:
    name, dtype = os.getenv("SIZING", "smollm2"), os.getenv("SIZING_DTYPE")
    with our_service(directory.parent.resolve(), ADAPTER_SERVICE_MAX_MERGED_BYTES="0") as service:
        yield Count("MB of a front without models", _memory(service) // MB, 500, "with its fork server, PSS")
        before = _memory(service)
        service.register("base", {"kind": "huggingface", "path": name}, dtype=dtype)
        base = service.http.get("/models/base").json()
        built = _memory(service) - before
        note = f"{name}: {base['bytes'] / 1e6:.0f} MB of weights in {base['dtype']}"
        yield Count("MB of a host beside its weights", (built - base["bytes"]) // MB, 400, note)
        yield from _adapters(service)
        yield from _texts(service)


def _adapters(service: Service) -> Iterator[Count]:
    before = held = 0
    for number in range(ADAPTERS + 1):
        body = {"name": f"a{number}", "config": LORA, "seed": number}
        service.http.post("/models/base/adapters", json=body).raise_for_status()
        _ask(service, f"a{number}")
        if number == 0:  # the first has brought tables and code with it
            before, held = _hosts_memory(service), _figure(service, "adapter_bytes")
    stored = service.http.get("/adapters/a1/versions/1").json()["bytes"]
    each = (_figure(service, "adapter_bytes") - held) // ADAPTERS
    taken = (_hosts_memory(service) - before) // ADAPTERS
    yield Count("KB of an adapter in memory, as it is counted", each // 1000, 2 * stored // 1000, _file(stored))
    yield Count("KB by which the process grew for each", taken // 1000, 3 * stored // 1000, _file(stored))


def _texts(service: Service) -> Iterator[Count]:
    body = {
        "inputs": {"text": [f"{number}: {PROMPT}" for number in range(TEXTS)]},
        "parameters": {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS},
        "stream": True,
    }
    before, read = _hosts_memory(service), _figure(service, "prompt_tokens_total")
    with service.http.stream("POST", "/models/base/infer", json=body) as answer:
        until(lambda: _figure(service, "running_texts") == TEXTS)
        lines = answer.iter_lines()  # kept: the connection is closed with it
        next(lines)
        held, grown = _figure(service, "cache_bytes"), _hosts_memory(service) - before
        tokens = _figure(service, "prompt_tokens_total") - read + TEXTS * NEW_TOKENS
    note = f"{TEXTS} texts, {tokens} tokens with those to come: {held / 1e6:.0f} MB"
    yield Count("KB of a token of a text, as it is counted", held // tokens // 1000, 200, note)
    yield Count("MB by which the process grew for the texts", grown // MB, 1000, "with what a forward itself takes")


def _ask(service: Service, adapter: str) -> None:
    body = {"adapter": adapter, "inputs": {"text": ["a ship"]}, "outputs": ["logits"]}
    service.http.post("/models/base/infer", json=body).raise_for_status()


def _figure(service: Service, name: str) -> int:
    found = re.search(
        rf"^adapter_service_{name}{{model=.base.}} (\S+)$", service.http.get("/metrics").text, re.MULTILINE
    )
    assert found, name
    return int(float(found[1]))


def _memory(service: Service) -> int:
    """Bytes of all its processes; what several of them share counts once."""
    process = psutil.Process(service.pid)
    return sum(one.memory_full_info().pss for one in [process, *process.children(recursive=True)])


def _hosts_memory(service: Service) -> int:
    return sum(one.memory_full_info().uss for one in hosts_of(service))


def _file(stored: int) -> str:
    return f"its file has {stored / 1000:.0f} KB"
