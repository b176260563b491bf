"""An adapter beside its base, by OpenAI's own client: `openai_client.py http://127.0.0.1:8000 smollm2 pirate`."""

import sys

from openai import OpenAI


def main(service: str, *models: str) -> None:
    client = OpenAI(base_url=f"{service}/v1", api_key="none")
    for model in models:
        sys.stdout.write(f"{model}: ")
        chunks = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Tell me about the sea."}],
            max_tokens=16,
            stream=True,
        )
        for chunk in chunks:
            sys.stdout.write(chunk.choices[0].delta.content or "")
        sys.stdout.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
