"""What a script of one's own does: FastAPI around a PEFT model, whose one active adapter a lock guards."""

import os
import threading
from typing import Any

import torch
from fastapi import FastAPI
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoTokenizer

torch.set_num_threads(1)
app = FastAPI()
lock = threading.Lock()
tokenizer = AutoTokenizer.from_pretrained(os.environ["BENCH_MODEL"])
config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
model = get_peft_model(AutoModel.from_pretrained(os.environ["BENCH_MODEL"]), config, adapter_name="a0")
for number in range(1, int(os.environ["BENCH_ADAPTERS"])):
    model.add_adapter(f"a{number}", config)
model.eval()


@app.post("/infer")
def infer(body: dict[str, Any]) -> dict[str, Any]:
    tokens = tokenizer(body["inputs"]["text"], return_tensors="pt", padding=True)
    with lock, torch.inference_mode():
        model.set_adapter(body["adapter"])
        hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][:, :, None]
    return {"embedding": ((hidden * mask).sum(1) / mask.sum(1)).tolist()}
