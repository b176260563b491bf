"""Which rows of which weights `trainable_token_indices` may name."""

from typing import Any

import pytest
from parity.architectures import architecture
from parity.extras import every_kind, tied_llama
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.places import resolve_places
from models_registry.adapters.token_rows import TokensPlace
from models_registry.architecture import describe
from models_registry.errors import Invalid, Unsupported
from models_registry.records import Architecture


@pytest.fixture(scope="module")
def every() -> Architecture:
    return describe(every_kind())


def places(base: Architecture, target: str, rows: Any, **fields: Any) -> list[tuple[str, str]]:
    """Where rows act, and under which key they are saved."""
    raw = {"peft_type": "LORA", "r": 2, "target_modules": [target], "trainable_token_indices": rows, **fields}
    found = resolve_places(parse_config(raw), base)
    return [(place.module.name, place.key.split(".token_adapter")[0]) for place in found if type(place) is TokensPlace]


def faults(base: Architecture, rows: Any, **fields: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        places(base, "linear", rows, **fields)
    return [f"{fault.loc[-1]}: {fault.message}" for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([1, 2], [("model.embed_tokens", "model.embed_tokens"), ("lm_head", "model.embed_tokens")]),
        ({"lm_head": [1]}, [("lm_head", "lm_head")]),
        (
            {"lm_head": [1], "embed_tokens": [1]},
            [("model.embed_tokens", "model.embed_tokens"), ("lm_head", "model.embed_tokens")],
        ),
        (
            {"lm_head": [2], "embed_tokens": [1]},
            [("lm_head", "lm_head"), ("model.embed_tokens", "model.embed_tokens")],
        ),
    ],
)
def test_a_tied_head_has_the_embeddings_rows_unless_it_is_given_its_own(rows: Any, expected: Any) -> None:
    assert places(describe(tied_llama()), "q_proj", rows) == expected


def test_an_untied_head_has_rows_of_its_own_alone() -> None:
    assert places(describe(architecture("llama")), "q_proj", {"lm_head": [1]}) == [("lm_head", "lm_head")]


@pytest.mark.parametrize("layer", ["conv1d", "conv2", "drop", "attention"])
def test_a_layer_without_a_row_for_each_token_is_refused_as_what_it_is(every: Architecture, layer: str) -> None:
    (fault,) = faults(every, {layer: [0]})
    assert fault.startswith(
        f"{layer}: {layer!r} is neither an embedding nor a linear layer with rows of its own: it is"
    )


def test_every_wrong_entry_and_row_is_named(every: Architecture) -> None:
    assert faults(every, {"absent": [0], "embedding": [10, -1], "plain": [8, 1, 1]}) == [
        "absent: names no module of the base model",
        "embedding: 10 is no row of 'embedding', which has 10",
        "embedding: -1 is no row of 'embedding', which has 10",
        "plain: 8 is no row of 'plain', which has 8",
        "plain: names a row twice",
    ]


@pytest.mark.parametrize(
    ("rows", "fields"),
    [
        ({"linear": [0]}, {}),
        ({"plain": [0]}, {"modules_to_save": ["plain"]}),
        ({"plain": [0], "lain": [1]}, {}),
        ({"classifier": [0]}, {"bias": "all"}),
    ],
)
def test_what_is_adapted_in_two_ways_is_refused(every: Architecture, rows: Any, fields: dict[str, Any]) -> None:
    assert [fault.endswith("choose one") for fault in faults(every, rows, **fields)] == [True]


def test_an_embedding_that_looks_up_other_rows_is_refused_in_its_own_words() -> None:
    class Positions(nn.Embedding):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
            return super().forward(input + 2)

    base = describe(nn.ModuleDict({"positions": Positions(9, 4), "linear": nn.Linear(4, 4)}))
    (fault,) = faults(base, {"positions": [1]})
    assert "looks up other rows" in fault


def test_tying_that_is_asked_for_is_what_token_rows_do_anyway() -> None:
    base, expected = describe(tied_llama()), [("model.embed_tokens", "model.embed_tokens")]
    assert places(base, "q_proj", [1], ensure_weight_tying=True) == [*expected, ("lm_head", "model.embed_tokens")]
    with pytest.raises(Unsupported, match="not served"):
        places(base, "lm_head", None, ensure_weight_tying=True)
