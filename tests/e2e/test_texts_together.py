"""Sixteen texts of a real model that begin and end while others are written, over real HTTP."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from e2e.process import Service

TOPICS = ("the sea", "bread", "rivers", "iron", "cats", "rain", "tea", "snow")
MADE = ("together-a", "together-b", "together-c")
ASKED: list[dict[str, Any]] = [
    {
        "adapter": (None, *MADE)[number % 4],
        "inputs": {"text": [f"Tell me about {TOPICS[number % 8]}{', please' * (number // 8)}."]},
        "parameters": {"max_new_tokens": 2 + number % 5},
    }
    for number in range(16)
]


def test_sixteen_texts_together_are_those_that_each_is_alone(service: Service) -> None:
    config = {"peft_type": "LORA", "r": 8, "init_lora_weights": False, "target_modules": ["q_proj", "down_proj"]}
    for seed, name in enumerate(MADE):
        made = service.http.post("/models/smollm2/adapters", json={"name": name, "config": config, "seed": seed})
        assert made.status_code == 201

    def write(asked: dict[str, Any]) -> Any:
        answer = service.http.post("/models/smollm2/infer", json=asked, timeout=300)
        assert answer.status_code == 200, answer.text
        return answer.json()["outputs"]

    alone = [write(asked) for asked in ASKED]
    with ThreadPoolExecutor(len(ASKED)) as callers:
        assert list(callers.map(write, ASKED)) == alone
    assert len({str(outputs) for outputs in alone}) > len(TOPICS)
