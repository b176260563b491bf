"""How to use an adapter from elsewhere: calls to paste."""

import json
from dataclasses import dataclass

from models_registry.records import Adapter

TEXTS = frozenset({"text-generation", "text-classification", "token-classification", "feature-extraction"})


@dataclass(frozen=True, slots=True)
class Snippet:
    title: str
    code: str


def snippets(address: str, adapter: Adapter, name: str, task: str | None) -> tuple[Snippet, ...]:
    """For curl, for our client, and where the model writes, for OpenAI's. `name` is what the caller calls it."""
    address = address.rstrip("/")
    reference = f"{name}@prod" if "prod" in adapter.aliases else name
    writes = task == "text-generation"
    inputs = {"text": ["Tell me about the sea."]} if task in TEXTS else {"x": [[0.0, 1.0]]}
    body: dict[str, object] = {"adapter": reference, "inputs": inputs}
    if writes:
        body["parameters"] = {"max_new_tokens": 48}
    curl = (
        f"curl -sS {address}/models/{adapter.model}/infer -H 'Content-Type: application/json' \\\n"
        f"  -H \"Authorization: Bearer $ADAPTER_SERVICE_KEY\" \\\n  -d '{json.dumps(body)}'"
    )
    opened = f'from service.client import Client\n\nclient = Client("{address}", key="ask_…")\n'
    given = json.dumps(inputs.get("text", inputs))
    call = (
        f'client.generate("{adapter.model}", {given}, adapter="{reference}", max_new_tokens=48)'
        if writes
        else f'client.infer("{adapter.model}", {given}, adapter="{reference}")'
    )
    found = (Snippet("curl", curl), Snippet("Python", f"{opened}answer = {call}"))
    if not writes:
        return found
    openai = (
        f'from openai import OpenAI\n\nclient = OpenAI(base_url="{address}/v1", api_key="ask_…")\n'
        f'answer = client.chat.completions.create(\n    model="{adapter.model}/{reference}",\n'
        '    messages=[{"role": "user", "content": "Tell me about the sea."}],\n)'
    )
    return (*found, Snippet("OpenAI", openai))
