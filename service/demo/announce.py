"""Says when the service that `make run` starts is ready, with four calls to paste: `python -m service.demo.announce`.

Runs beside the service and ends with it. The service itself knows nothing of a demo.
"""

import json
import os
import time
import urllib.error
import urllib.request

import typer

from service.settings import Settings, read_settings

POLL_S = 0.25
PROMPT = "Tell me about the sea."
CHAT = {
    "messages": [{"role": "user", "content": PROMPT}],
    "stream": True,
    "max_tokens": 48,
    "repetition_penalty": 1.1,
}
QUESTION = {
    "inputs": {"text": [PROMPT, PROMPT]},
    "parameters": {"max_new_tokens": 48, "repetition_penalty": 1.1},
}


def announce(settings: Settings) -> None:
    """Wait until every model answers, then print. Returns without a word when the service ends before that."""
    service, address = os.getppid(), f"http://{settings.host}:{settings.port}"
    while os.getppid() == service:
        if _status(f"{address}/health/ready") == 200:
            typer.echo(_text(address, _free_name(address)))
            return
        time.sleep(POLL_S)


def _text(address: str, name: str) -> str:
    chat = json.dumps({"model": name, **CHAT})
    question = json.dumps({"adapter": [None, name], **QUESTION})
    return f"""
The Adapter Service is ready on {address} (its API: {address}/docs). In another terminal, from this directory:

# 1. Inject a LoRA adapter that was trained to talk like a pirate.
curl -sS {address}/models/smollm2/adapters -F name={name} \\
  -F config=@service/demo/pirate/adapter_config.json -F weights=@service/demo/pirate/adapter_model.safetensors -w '\\n'

# 2. Chat with it by OpenAI's API: the words come while they are written.
curl -sSN {address}/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{chat}'

# 3. Ask twice in one batch: the first row is the base model's, the second the adapter's.
curl -sS {address}/models/smollm2/infer -H 'Content-Type: application/json' \\
  -d '{question}' -w '\\n'

# 4. Get the adapter's state dict back.
curl -sS {address}/adapters/{name}/state -o {name}.safetensors -w '%{{http_code}} %{{size_download}} bytes\\n'
"""


def _free_name(address: str) -> str:
    """A second `make run` finds the first one's adapter; the call that injects shall work again."""
    names = ["pirate", *(f"pirate-{number}" for number in range(2, 1000))]
    return next(name for name in names if _status(f"{address}/adapters/{name}") != 200)


def _status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the scheme is ours
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, TimeoutError):
        return None


if __name__ == "__main__":
    announce(read_settings())
