"""Adapters that PEFT saved, and what PEFT itself answers with them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from bases import mlp
from peft import LoraConfig, PeftModel, get_peft_model

ROWS = np.array([[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 0.0, 2.0]], "f4")


def trained(directory: Path, seed: int) -> PeftModel:
    """A PEFT model with random weights, saved."""
    base = mlp()  # draws from torch's generator too
    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["first", "second"], init_lora_weights=False)
    model = get_peft_model(base, config)
    model.save_pretrained(str(directory))
    return model.eval()


def of_peft(model: PeftModel) -> "np.ndarray[Any, Any]":
    with torch.no_grad():
        return model(torch.from_numpy(ROWS)).numpy()
