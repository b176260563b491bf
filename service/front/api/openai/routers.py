"""OpenAI's API: all of its routes."""

from service.front.api.openai import chat, completions, embeddings, lora, models, responses

OPENAI = tuple(resource.router for resource in (chat, completions, responses, embeddings, models, lora))
