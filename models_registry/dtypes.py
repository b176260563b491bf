"""torch's dtypes by their names, as records, files and callers write them."""

import torch


def dtype_name(dtype: torch.dtype) -> str:
    """torch's own name without `torch.`: "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def dtype_named(name: str) -> torch.dtype:
    """The inverse of `dtype_name`, for names that it gave."""
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype
