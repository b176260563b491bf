"""What vLLM on a CPU takes for 16 texts by 16 adapters. Runs in an environment of its own, which has `vllm` and none of
ours: `python vllm_texts.py MODEL TOKENS ROUNDS ADAPTER...` prints the median of its seconds.
"""

import statistics
import sys
import time
from importlib import import_module
from typing import Any

TAKEN = "seconds: "
"""Begins the line with the answer, among what vLLM prints."""


def main(model: str, tokens: int, rounds: int, adapters: list[str]) -> None:
    vllm: Any = import_module("vllm")  # which only its own environment has
    lora: Any = import_module("vllm.lora.request")
    engine = vllm.LLM(
        model,
        dtype="float32",
        enable_lora=True,
        max_loras=len(adapters),
        max_lora_rank=16,
        max_num_seqs=len(adapters),
        max_model_len=256,
        enforce_eager=True,
    )
    sampling = vllm.SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
    requests = [lora.LoRARequest(f"a{at}", at + 1, path) for at, path in enumerate(adapters)]
    prompts = [f"Tell me {at} things about the sea and the wind." for at in range(len(adapters))]
    taken: list[float] = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        engine.generate(prompts, sampling, lora_request=requests, use_tqdm=False)
        taken.append(time.perf_counter() - begun)
    print(f"{TAKEN}{statistics.median(taken[1:])}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
