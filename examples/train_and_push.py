"""Train a LoRA with PEFT on a few sentences, and push what PEFT saved: `python examples/train_and_push.py --help`.

Training needs the base model's files and PEFT; pushing needs only what PEFT wrote. The service may be elsewhere.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from service.client import Client

TEXTS = [
    "The tide is high and the crew is merry.",
    "Raise the sails, the wind is with us.",
    "There is gold below the old lighthouse.",
    "No map shows the island where we rest.",
]


def train(base: Path, out: Path, steps: int) -> float:
    """Write PEFT's two files to `out`. Returns the last step's loss."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    batch = tokenizer(TEXTS, return_tensors="pt", padding=True)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)
    loss = torch.zeros(())
    for _ in range(steps):
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(out)
    return loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="the base model's directory")
    parser.add_argument("--model", required=True, help="the base model's id in the service")
    parser.add_argument("--name", default="sailor-song", help="the adapter's name")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--steps", type=int, default=30)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as out, Client(asked.url) as client:
        loss = train(asked.base, Path(out), asked.steps)
        notes = {"loss": round(loss, 4), "steps": asked.steps}
        pushed = client.adapters.push(asked.name, out, model=asked.model, metadata=notes)
    print(f"{pushed.version.reference}, loss {loss:.3f}")


if __name__ == "__main__":
    main()
