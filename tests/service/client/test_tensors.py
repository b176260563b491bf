"""Arrays as safetensors: each dtype comes back as it was, bfloat16 as the float32 of the same value."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from service.client.tensors import decode_arrays, encode_arrays

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_is_read_as_it_was_written(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    again = decode_arrays(encode_arrays({"x": array}))["x"]
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


def test_bfloat16_keeps_its_values() -> None:
    tensor = torch.tensor([[1.0, -2.5], [3e38, 0.1]], dtype=torch.bfloat16)
    array = decode_arrays(save({"x": tensor}))["x"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, tensor.float().numpy())


def test_a_dtype_without_an_array_is_named() -> None:
    with pytest.raises(ValueError, match="'x' has the dtype F8_E4M3"):
        decode_arrays(save({"x": torch.zeros(2, dtype=torch.float8_e4m3fn)}))


def test_a_transposed_array_is_sent_row_by_row() -> None:
    array = np.arange(6.0).reshape(2, 3).T
    assert torch.equal(load(encode_arrays({"x": array}))["x"], torch.from_numpy(array.copy()))


def test_the_client_imports_neither_torch_nor_fastapi() -> None:
    code = "import sys, service.client; print({'torch', 'fastapi', 'transformers', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
