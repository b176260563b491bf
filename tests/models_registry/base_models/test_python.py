from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from models_registry.base_models.python import PythonSpec
from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs
from models_registry.records import PythonSource

CPU = torch.device("cpu")


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, left: Tensor, right: Tensor | None = None) -> Tensor:
        return self.linear(left if right is None else left + right)


class Returning(nn.Module):
    """Gives what `make` makes of its input, whatever its input is called."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x)


class Point(NamedTuple):
    mean: Tensor
    note: str


@dataclass
class Answer:
    logits: Tensor
    loss: None = None


def spec_of(factory: Callable[..., object], **kwargs: Any) -> PythonSpec:
    return PythonSpec(PythonSource("tests:factory", kwargs), factory, None)


def built(factory: Callable[..., object], **kwargs: Any) -> tuple[PythonSpec, nn.Module]:
    spec = spec_of(factory, **kwargs)
    return spec, spec.build(CPU, None)


def test_the_factory_gets_exactly_its_kwargs() -> None:
    _, module = built(nn.Linear, in_features=3, out_features=2, bias=False)
    assert isinstance(module, nn.Linear)
    assert module.weight.shape == (2, 3)


def test_the_module_is_frozen_in_eval_mode_and_in_its_dtype() -> None:
    module = spec_of(Pair).build(CPU, torch.bfloat16)
    assert not module.training
    assert all(p.dtype is torch.bfloat16 and not p.requires_grad for p in module.parameters())


def test_a_factory_without_a_seed_gives_the_same_weights_again_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, second = built(Pair)[1], built(Pair)[1]
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first.get_parameter("linear.weight"), second.get_parameter("linear.weight"))


def test_what_the_factory_raises_is_the_reason() -> None:
    with pytest.raises(Invalid, match="TypeError"):
        built(nn.Linear, sides=3)


def test_what_is_not_a_module_is_refused() -> None:
    with pytest.raises(Invalid, match="dict"):
        built(dict)


def test_rows_are_the_leading_dimension_and_floats_take_the_modules_dtype() -> None:
    spec = spec_of(Pair)
    module = spec.build(CPU, torch.bfloat16)
    rows = spec.read(module, Inputs({"left": torch.ones(4, 3), "right": torch.ones(4, 3, dtype=torch.int32)}))
    assert rows.count == 4
    assert (rows.tensors["left"].dtype, rows.tensors["right"].dtype) == (torch.bfloat16, torch.int32)
    assert spec.forward(module, rows)["output"].shape == (4, 2)  # pyright: ignore[reportAttributeAccessIssue] - a tensor


def test_an_input_without_a_dimension_means_that_there_are_no_rows() -> None:
    spec, module = built(lambda: Returning(lambda x: x))
    assert spec.read(module, Inputs({"x": torch.tensor(1.0)})).count is None


def test_every_unknown_and_every_missing_name_is_listed() -> None:
    spec, module = built(Pair)
    with pytest.raises(Invalid) as caught:
        spec.read(module, Inputs({"middle": torch.ones(1), "top": torch.ones(1)}))
    assert [fault.loc[1] for fault in caught.value.faults] == ["middle", "top", "left"]


@pytest.mark.parametrize("right", [3, 0])
def test_ragged_rows_are_refused(right: int) -> None:
    spec, module = built(Pair)
    with pytest.raises(Invalid, match="ragged"):
        spec.read(module, Inputs({"left": torch.ones(2, 3), "right": torch.ones(right, 3)}))


def test_no_rows_are_refused() -> None:
    spec, module = built(Pair)
    with pytest.raises(Invalid, match="no rows"):
        spec.read(module, Inputs({"left": torch.ones(0, 3)}))


@pytest.mark.parametrize("by_name", [False, True])
def test_off_the_cpu_an_index_outside_an_embedding_never_reaches_the_device(by_name: bool) -> None:
    spec = spec_of(nn.Embedding, num_embeddings=3, embedding_dim=2)
    module, ids = spec.build(torch.device("meta"), None), torch.tensor([3])
    with pytest.raises(IndexError, match="3 rows"):
        module(input=ids) if by_name else module(ids)


def test_texts_need_a_tokenizer() -> None:
    spec, module = built(Pair)
    with pytest.raises(Invalid, match="tokenizer"):
        spec.read(module, Inputs(texts=("a",)))
    with pytest.raises(Invalid, match="tokenizer"):
        spec.generate(module, Inputs(texts=("a",)), {}, lambda: False)


def test_a_positional_only_input_is_given_by_its_place() -> None:
    class Doubling(nn.Module):
        def forward(self, x: Tensor, /, times: Tensor) -> Tensor:
            return x * times

    spec, module = built(Doubling)
    rows = spec.read(module, Inputs({"times": torch.tensor([2, 3]), "x": torch.tensor([1, 1])}))
    assert spec.forward(module, rows)["output"].tolist() == [2, 3]  # pyright: ignore[reportAttributeAccessIssue] - a tensor


def test_a_forward_with_free_keywords_takes_any_name() -> None:
    class Summing(nn.Module):
        def forward(self, **tensors: Tensor) -> Tensor:
            return torch.stack([*tensors.values()]).sum(0)

    spec, module = built(Summing)
    rows = spec.read(module, Inputs({"a": torch.ones(2), "b": torch.ones(2)}))
    assert spec.forward(module, rows)["output"].tolist() == [2, 2]  # pyright: ignore[reportAttributeAccessIssue] - a tensor


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda x: x, ["output"]),
        (lambda x: (x, "a note", x), ["output_0", "output_2"]),
        (lambda x: [x], ["output_0"]),
        (lambda x: {"logits": x, "cache": [x], "hidden": (x,)}, ["logits"]),
        (lambda x: Point(x, "a note"), ["mean"]),
        (Answer, ["logits"]),
    ],
)
def test_outputs_come_back_under_their_names_and_only_tensors(make: Callable[[Tensor], Any], names: list[str]) -> None:
    spec, module = built(lambda: Returning(make))
    assert list(spec.forward(module, spec.read(module, Inputs({"x": torch.ones(1)})))) == names


def test_a_forward_that_gives_no_tensor_is_refused() -> None:
    spec, module = built(lambda: Returning(lambda _: "words"))
    with pytest.raises(Invalid, match="str"):
        spec.forward(module, spec.read(module, Inputs({"x": torch.ones(1)})))
