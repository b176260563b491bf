"""A tensor's digest: how a checkpoint's copy of a base weight is recognised as the base model's own."""

import hashlib

import torch
from torch import Tensor


def tensor_digest(tensor: Tensor) -> str:
    """sha256 (hex) of the bytes, row-major, in the tensor's own dtype."""
    dense = tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()
    data = dense.cpu().contiguous().reshape(-1).view(torch.uint8)  # numpy has no bfloat16, but it has bytes
    return hashlib.sha256(data.numpy().data).hexdigest()
