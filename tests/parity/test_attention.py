"""LoRA on `nn.MultiheadAttention`: PEFT's numbers for every option of its forward, algebra's inside an encoder."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from parity.oracle import assert_differs, ours, peft_model, peft_state
from tolerance import assert_same
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel

ROWS, QUERIES, KEYS, WIDTH, HEADS = 3, 4, 6, 8, 2
LORA: dict[str, Any] = {"peft_type": "LORA", "r": 3, "lora_alpha": 5, "target_modules": ["attention"]}


class Attend(nn.Module):
    def __init__(self, *, bias: bool = True, batch_first: bool = True) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=batch_first)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.attention(*args, **kwargs)


def attend(*, bias: bool = True, batch_first: bool = True) -> nn.Module:
    torch.manual_seed(0)
    model = Attend(bias=bias, batch_first=batch_first).double().eval()
    for name, parameter in model.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)
    return model


def options() -> Iterator[dict[str, Any]]:
    for mask, padding, weights, average, cross in itertools.product(
        (None, "2-D", "2-D bool", "3-D", "3-D bool"), (False, True), (False, True), (False, True), (False, True)
    ):
        if weights or average:  # without weights there is nothing to average
            yield {"mask": mask, "padding": padding, "weights": weights, "average": average, "cross": cross}


OPTIONS = {"-".join(str(value) for value in option.values()): option for option in options()}


def numbers(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def arguments(option: dict[str, Any]) -> dict[str, Tensor | bool]:
    """With rows first: of query, key, value, padding and 3-D masks."""
    generator = torch.Generator().manual_seed(1)
    query = numbers(generator, ROWS, QUERIES, WIDTH)
    key = numbers(generator, ROWS, KEYS, WIDTH) if option["cross"] else query
    value = numbers(generator, *key.shape)
    given: dict[str, Tensor | bool] = {"query": query, "key": key, "value": value}
    if option["mask"] is not None:
        shape = (QUERIES, key.shape[1]) if "2-D" in option["mask"] else (ROWS * HEADS, QUERIES, key.shape[1])
        hidden = torch.rand(shape, generator=generator) < 0.4
        hidden[..., 0] = False
        given["attn_mask"] = hidden if "bool" in option["mask"] else hidden.double() * -3.0
    if option["padding"]:
        given["key_padding_mask"] = torch.rand((ROWS, key.shape[1]), generator=generator) < 0.3
        given["key_padding_mask"][:, 0] = False
        if option["mask"] in ("2-D", "3-D"):  # torch wants both masks of one type
            given["key_padding_mask"] = given["key_padding_mask"].double() * -3.0
    return {**given, "need_weights": option["weights"], "average_attn_weights": option["average"]}


def one_row(given: dict[str, Tensor | bool], row: int) -> dict[str, Tensor | bool]:
    def of(name: str, value: Tensor | bool) -> Tensor | bool:
        if not isinstance(value, Tensor) or (name == "attn_mask" and value.dim() == 2):
            return value
        return value[row * HEADS : (row + 1) * HEADS] if name == "attn_mask" else value[row : row + 1]

    return {name: of(name, value) for name, value in given.items()}


def steps_first(given: dict[str, Tensor | bool]) -> dict[str, Tensor | bool]:
    return {
        name: value.transpose(0, 1) if isinstance(value, Tensor) and name in ("query", "key", "value") else value
        for name, value in given.items()
    }


@torch.no_grad()
def run(model: nn.Module, *args: Any, **kwargs: Any) -> list[Tensor]:
    return [value for value in model(*args, **kwargs) if value is not None]


@pytest.mark.parametrize("batch_first", [True, False], ids=["rows first", "steps first"])
@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_option_computes_what_peft_computes(option: dict[str, Any], batch_first: bool) -> None:
    base = attend(batch_first=batch_first)
    theirs = peft_model(base, LORA)
    adapted = ours(base, LORA, peft_state(theirs))
    given = arguments(option) if batch_first else steps_first(arguments(option))
    expected, plain = run(theirs, **given), run(base, **given)
    with adapted.routed_whole({"x": 1.0}):
        actual = run(adapted.module, **given)
    assert len(actual) == len(expected) == 1 + option["weights"]
    for one, other, untouched in zip(actual, expected, plain, strict=True):
        assert_same(one, other)
        assert_differs(one, untouched)
    assert all(torch.equal(one, other) for one, other in zip(run(adapted.module, **given), plain, strict=True))


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS.keys())
def test_rows_equal_their_solo_runs_under_every_option(option: dict[str, Any]) -> None:
    adapted = ours(attend(), {**LORA, "init_lora_weights": False})
    adapted.inject_adapter("y", parse_config({**LORA, "bias": "all"}), _doubled(adapted))
    given = arguments(option)
    compositions = [{"y": 1.0}, {}, {"x": 1.0}]
    with adapted.routed(compositions):
        mixed = run(adapted.module, **given)
    for row, composition in enumerate(compositions):
        with adapted.routed_whole(composition):
            alone = run(adapted.module, **one_row(given, row))
        for together, single in zip(mixed, alone, strict=True):
            assert_same(together[row : row + 1], single)


def _doubled(adapted: AdaptedModel) -> dict[str, Tensor]:
    state = {key: 2 * tensor for key, tensor in adapted.adapter_state_dict("x").items()}
    return {**state, "attention.base_layer.out_proj.base_layer.bias": torch.ones(WIDTH, dtype=torch.float64)}


def test_arguments_may_come_in_their_order() -> None:
    adapted = ours(attend(), {**LORA, "init_lora_weights": False})
    given = arguments(OPTIONS["3-D-True-True-True-True"])
    with adapted.routed([{"x": 1.0}, {}, {"x": 1.0}]):
        named = run(adapted.module, **given)
        ordered = run(
            adapted.module,
            *(given[name] for name in ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask")),
        )
    assert_same(ordered[0], named[0])
    assert_same(ordered[1], named[1])


def test_a_lone_sequence_has_no_rows_and_takes_one_adapter() -> None:
    base = attend(bias=False)
    theirs = peft_model(base, LORA)
    adapted = ours(base, LORA, peft_state(theirs))
    x = numbers(torch.Generator().manual_seed(1), QUERIES, WIDTH)
    with adapted.routed_whole({"x": 1.0}):
        actual = run(adapted.module, x, x, x)
    assert_same(actual[0], run(theirs, x, x, x)[0])


# ---- inside torch's own transformer -----------------------------------------------------------------------------


def encoder(norm_first: bool) -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, dim_feedforward=12, dropout=0.3, batch_first=True, norm_first=norm_first
    )
    return nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=not norm_first).double().eval()


def merged(base: nn.Module, adapted: AdaptedModel) -> nn.Module:
    """The algebra: a base model whose weights have the deltas in them. PEFT adds out_proj's twice, so does this."""
    state, model = adapted.adapter_state_dict("x"), copy.deepcopy(base)
    config = adapted.checkpoint("x").config
    scaling = config.lora_alpha / config.r  # pyright: ignore[reportAttributeAccessIssue] - a LoRA config
    with torch.no_grad():
        for name, part in model.named_modules():
            if f"{name}.lora_A.weight" not in state:
                continue
            delta = scaling * state[f"{name}.lora_B.weight"] @ state[f"{name}.lora_A.weight"]
            if not isinstance(part, nn.MultiheadAttention):
                part.get_parameter("weight").add_(delta)
                continue
            part.in_proj_weight.add_(delta)
            out = f"{name}.base_layer.out_proj"
            part.out_proj.weight.add_(2 * scaling * state[f"{out}.lora_B.weight"] @ state[f"{out}.lora_A.weight"])
    return model


@pytest.fixture
def fused_path_off() -> Iterator[None]:
    """As the service has it: torch's encoder chooses nested tensors for padded rows before it looks for hooks."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


TARGETS = (["self_attn"], ["linear1"], ["linear2"], ["self_attn", "linear1", "linear2"])


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("targets", TARGETS)
def test_torchs_fused_path_gives_way_to_adapters(norm_first: bool, targets: list[str]) -> None:
    """It reads weights without calling the layers; PEFT's adapters do nothing there."""
    base = encoder(norm_first)
    adapted = ours(base, {**LORA, "target_modules": targets, "init_lora_weights": False})
    x = numbers(torch.Generator().manual_seed(1), ROWS, QUERIES, WIDTH)
    with torch.inference_mode():
        plain, expected = base(x), merged(base, adapted)(x)
        with adapted.routed_whole({"x": 1.0}):
            actual = adapted.module(x)
        with adapted.routed([{}, {"x": 1.0}, {}]):
            mixed = adapted.module(x)
    assert_differs(expected, plain)
    assert_same(actual, expected)
    assert_same(mixed, torch.stack([plain[0], expected[1], plain[2]]))


@pytest.mark.usefixtures("fused_path_off")
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("targets", TARGETS)
def test_padded_rows_of_an_encoder_use_their_adapters(norm_first: bool, targets: list[str]) -> None:
    base = encoder(norm_first)
    adapted = ours(base, {**LORA, "target_modules": targets, "init_lora_weights": False})
    x = numbers(torch.Generator().manual_seed(1), ROWS, QUERIES, WIDTH)
    padding = torch.tensor([[False] * 4, [False, False, False, True], [False, False, True, True]])
    with torch.inference_mode():
        plain = base(x, src_key_padding_mask=padding)
        expected = merged(base, adapted)(x, src_key_padding_mask=padding)
        with adapted.routed([{}, {"x": 1.0}, {"x": 1.0}]):
            mixed = adapted.module(x, src_key_padding_mask=padding)
        assert torch.equal(adapted.module(x, src_key_padding_mask=padding), plain)
    assert_differs(expected, plain)
    assert_same(mixed[0], plain[0])
    assert_same(mixed[1:][~padding[1:]], expected[1:][~padding[1:]])


def test_a_whole_transformer_uses_its_adapters() -> None:
    torch.manual_seed(0)
    base = nn.Transformer(
        WIDTH, HEADS, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=12, batch_first=True
    )
    base.double().eval()
    targets = ["self_attn", "multihead_attn", "linear1"]
    adapted = ours(base, {**LORA, "target_modules": targets, "init_lora_weights": False})
    generator = torch.Generator().manual_seed(1)
    source = numbers(generator, ROWS, KEYS, WIDTH)
    target = numbers(generator, ROWS, QUERIES, WIDTH)
    causal = nn.Transformer.generate_square_subsequent_mask(QUERIES, dtype=torch.float64)
    with torch.inference_mode():
        expected = merged(base, adapted)(source, target, tgt_mask=causal)
        plain = base(source, target, tgt_mask=causal)
        with adapted.routed([{"x": 1.0}, {}, {"x": 1.0}]):
            mixed = adapted.module(source, target, tgt_mask=causal)
    assert_differs(expected, plain)
    assert_same(mixed[::2], expected[::2])
    assert_same(mixed[1], plain[1])
