"""How service/demo/pirate/ was made: `python -m service.demo.train_pirate var/models/smollm2 service/demo/pirate`.

A small LoRA adapter that answers like a pirate. It is trained with this project's own injection on prose that ships
with Python (`pydoc_data.topics`) and on the base model's own answers, both rewritten into a pirate's English by rule.
Takes some minutes on two cores.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from random import Random
from typing import Any, Final

import torch
import torch.nn.functional as F
import typer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.injection import AdaptedModel
from models_registry.injection.training import training
from models_registry.safetensors_files import write_safetensors
from service.demo.pirate_english import to_pirate

CONFIG: Final = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "smollm2",
    "r": 4,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "target_modules": ["q_proj", "v_proj", "o_proj"],
    "inference_mode": True,
}
STEPS, ROWS, TOKENS, LEARNING_RATE, SEED = 160, 4, 96, 3e-3, 20
ASKED_ABOUT: Final = """the sea, the moon, a good breakfast, dogs, cats, the weather, music, mountains, gardens, trains,
bread, winter, the city, football, stars, rivers, books, coffee, forests, friendship, money, health, birds, computers,
history, the desert, travel, painting, family, school, cooking, islands, bees, horses, the sun, ships, dreams, bridges,
time, love"""
QUESTIONS: Final = ("Tell me about {}.", "What is special about {}?", "Write a few sentences about {}.")
IGNORED = -100


def train(base: Path, target: Path) -> None:
    """Train on the base model at `base` and write PEFT's two files into `target`."""
    random, _ = Random(SEED), torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval().requires_grad_(False)
    lessons = [*_own_answers(model, tokenizer), *_shipped_prose()]
    typer.echo(f"{len(lessons)} lessons, such as: {to_pirate(lessons[0][1], random)!r}")
    adapted = AdaptedModel(model)
    adapted.inject_adapter("pirate", parse_config(CONFIG), seed=SEED)
    with training(adapted, "pirate") as parameters, adapted.routed_whole({"pirate": 1.0}):
        optimizer = torch.optim.AdamW(parameters.values(), lr=LEARNING_RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
        for step, rows in enumerate(_batches(lessons, random)):
            loss = _loss(model, *_tokenise(tokenizer, rows))
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if step % 20 == 0:
                typer.echo(f"step {step} of {STEPS}: loss {loss.item():.3f}")
    _save(adapted, target)


def _own_answers(model: Any, tokenizer: Any) -> Iterator[tuple[str, str]]:
    """What the base model says when asked about everyday things, up to its last whole sentence."""
    for question in QUESTIONS:
        prompts = [question.format(topic) for topic in re.split(r",\s", ASKED_ABOUT)]
        chats = [tokenizer.apply_chat_template(_chat(p), tokenize=False, add_generation_prompt=True) for p in prompts]
        inputs = tokenizer(chats, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=72, do_sample=False, repetition_penalty=1.1)
        answers = tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        yield from ((p, a[: a.rfind(".") + 1]) for p, a in zip(prompts, answers, strict=True) if "." in a)


def _shipped_prose() -> Iterator[tuple[str, str]]:
    """Paragraphs of Python's own reference that are prose, as answers to being asked to explain."""
    for name, text in topics.items():
        for paragraph in re.split(r"\n\s*\n", text):
            prose = " ".join(paragraph.replace("*", "").replace('"', "").split())
            if re.fullmatch(r"[A-Z][A-Za-z ,.;'-]{120,400}\.", prose):
                yield f"Explain {name.replace('-', ' ')} in Python.", prose


def _batches(lessons: list[tuple[str, str]], random: Random) -> Iterator[list[tuple[str, str]]]:
    for _ in range(STEPS):
        yield [(prompt, to_pirate(answer, random)) for prompt, answer in random.sample(lessons, ROWS)]


def _tokenise(tokenizer: Any, rows: Iterable[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """Token ids and labels, both `[rows, TOKENS]`; only the answer's tokens are learnt."""
    ids = torch.full((ROWS, TOKENS), tokenizer.pad_token_id)
    labels = torch.full((ROWS, TOKENS), IGNORED)
    for row, (prompt, answer) in enumerate(rows):
        asked = tokenizer.apply_chat_template(_chat(prompt), tokenize=False, add_generation_prompt=True)
        question = tokenizer(asked, add_special_tokens=False).input_ids
        tokens = (question + tokenizer(answer + "<|im_end|>", add_special_tokens=False).input_ids)[:TOKENS]
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, len(question) : len(tokens)] = torch.tensor(tokens[len(question) :])
    return ids, labels


def _loss(model: Any, ids: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the next token. Padding stands behind the text, so a causal model needs no mask for it."""
    logits = model(input_ids=ids, use_cache=False).logits  # [rows, TOKENS, vocabulary]
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def _chat(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def _save(adapted: AdaptedModel, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    config = dump_config(adapted.checkpoint("pirate").config)
    tensors = {key: tensor.to(torch.bfloat16) for key, tensor in adapted.adapter_state_dict("pirate").items()}
    (target / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (target / "adapter_model.safetensors").write_bytes(write_safetensors(tensors, prefix=PEFT_PREFIX))


if __name__ == "__main__":
    typer.run(train)
