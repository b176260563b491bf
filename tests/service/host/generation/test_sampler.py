from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tiny_tokenizers import END, byte_level
from torch import Tensor

from models_registry.base_models.constraint import Constraint
from models_registry.base_models.generation import parse_parameters
from models_registry.errors import Invalid
from service.host.generation.grammar import Grammar
from service.host.generation.grammar_compiler import GrammarCompiler
from service.host.generation.sampler import Drawn, Sampler, draw

CPU = torch.device("cpu")
VOCABULARY = 40
SAMPLED = {"do_sample": True, "temperature": 2.0, "top_p": 0.9, "seed": 3, "repetition_penalty": 1.2}


def sampler(raw: dict[str, Any], place: int = 0, ends: Sequence[int] = (0,), grammar: Grammar | None = None) -> Sampler:
    return Sampler(parse_parameters(raw), [5, 6, 7], place, ends, CPU, grammar)


def logits_of(rows: int, step: int = 0) -> Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(step))


def written(samplers: Sequence[Sampler], rows: Sequence[int], steps: int = 6) -> list[list[int]]:
    """What each draws from its one of the rows of logits, all in the same steps."""
    texts: list[list[int]] = [[] for _ in samplers]
    for step in range(steps):
        for text, one, token in zip(texts, samplers, draw(samplers, logits_of(8, step)[list(rows)]), strict=True):
            assert isinstance(token, Drawn)
            one.accept(token.id)
            text.append(token.id)
    return texts


def test_greedy_rows_take_the_largest_logit() -> None:
    logits = logits_of(3)
    assert draw([sampler({})] * 3, logits) == [Drawn(id) for id in logits.argmax(-1).tolist()]


@pytest.mark.parametrize("raw", [{}, SAMPLED, {"frequency_penalty": 2.0}, {"no_repeat_ngram_size": 1}])
def test_a_text_is_the_same_whatever_shares_its_steps(raw: dict[str, Any]) -> None:
    others = [sampler(SAMPLED, 1), sampler({}, 2), sampler({"presence_penalty": 1.0}, 3)]
    together = written([*others, sampler(raw, 4)], [0, 1, 2, 5])
    assert written([sampler(raw, 4)], [5]) == together[-1:]


def test_a_seed_draws_another_text_in_another_place() -> None:
    assert written([sampler(SAMPLED, 0)], [0]) != written([sampler(SAMPLED, 1)], [0])


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("raw", [{}, SAMPLED])
def test_a_row_without_numbers_fails_alone(broken: float, raw: dict[str, Any]) -> None:
    logits = logits_of(3)
    logits[1, 7] = broken
    first, failed, last = draw([sampler(raw), sampler(raw), sampler(raw)], logits)
    assert isinstance(failed, Invalid)
    assert [first, last] == draw([sampler(raw), sampler(raw)], logits[[0, 2]])


def test_logprobs_are_the_models_own_and_those_of_rows_that_asked() -> None:
    logits = logits_of(3)
    raw = {"logprobs": True, "top_logprobs": 2, "logit_bias": {"9": 100}}
    none, two, zero = draw([sampler({}), sampler(raw), sampler({"logprobs": True})], logits)
    logprobs = logits.log_softmax(-1)
    assert isinstance(none, Drawn)
    assert none.logprob is None
    assert isinstance(two, Drawn)
    assert (two.id, two.logprob) == (9, pytest.approx(float(logprobs[1, 9])))
    assert [id for id, _ in two.alternatives] == logits[1].topk(2).indices.tolist()
    assert [value for _, value in two.alternatives] == pytest.approx(logprobs[1].topk(2).values.tolist())
    assert isinstance(zero, Drawn)
    assert (zero.logprob, zero.alternatives) == (pytest.approx(float(logprobs[2].max())), ())


def test_the_models_ends_and_the_callers_end_a_text() -> None:
    assert [sampler({"stop_token_ids": [4]}).ends(id) for id in (0, 4, 5)] == [True, True, False]
    assert [sampler({"stop_token_ids": [4], "ignore_eos": True}).ends(id) for id in (0, 4)] == [False, True]


def test_no_end_is_drawn_before_the_least_number_of_tokens() -> None:
    logits = logits_of(1)
    logits[0, 0] = 50.0
    one = sampler({"min_new_tokens": 2})
    ids: list[int] = []
    for _ in range(3):
        (token,) = draw([one], logits)
        assert isinstance(token, Drawn)
        one.accept(token.id)
        ids.append(token.id)
    assert [id == 0 for id in ids] == [False, False, True]


def test_a_token_is_repeated_where_all_are_used() -> None:
    one = sampler({"no_repeat_ngram_size": 1})
    for id in range(VOCABULARY):
        one.accept(id)
    logits = logits_of(1)
    assert draw([one], logits) == [Drawn(int(logits.argmax()))]


def test_a_long_text_outgrows_its_first_room() -> None:
    one, other = sampler({"frequency_penalty": 0.1}), sampler({"frequency_penalty": 0.1})
    for id in [*range(VOCABULARY), *range(VOCABULARY), 3, 3]:
        one.accept(id)
    flat = torch.zeros(1, VOCABULARY)
    assert int(one.score(flat).argmin()) == 3
    assert float(one.score(flat).min()) == pytest.approx(-0.4)
    assert torch.equal(other.score(flat), flat)


@pytest.fixture(scope="module")
def compiler() -> tuple[GrammarCompiler, list[str], int]:
    tokenizer = byte_level()
    end = tokenizer.convert_tokens_to_ids(END)
    assert isinstance(end, int)
    texts = [tokenizer.decode([id]) for id in range(len(tokenizer))]
    return GrammarCompiler(tokenizer, len(tokenizer), [end]), [str(text) for text in texts], end


@pytest.mark.parametrize("raw", [{}, {"do_sample": True, "seed": 0}, {"min_new_tokens": 9}])
def test_a_text_keeps_to_its_form_and_ends_with_it(
    raw: dict[str, Any], compiler: tuple[GrammarCompiler, list[str], int]
) -> None:
    forms, texts, end = compiler
    one = sampler(raw, 0, [end], forms.compile(Constraint(choice=["salty sea", "salty"])))
    text = ""
    for step in range(20):
        logits = torch.randn(1, len(texts), generator=torch.Generator().manual_seed(step))
        (token,) = draw([one], logits)
        assert isinstance(token, Drawn)
        one.accept(token.id)
        if one.ends(token.id):
            break
        text += texts[token.id]
        if one.is_complete:
            break
    assert text in {"salty sea", "salty"}


def test_a_form_that_can_not_be_followed_fails_its_row_alone(
    compiler: tuple[GrammarCompiler, list[str], int],
) -> None:
    forms, texts, end = compiler
    form = forms.compile(Constraint(regex="ab"))
    form.accept(texts.index("z"))
    logits = torch.zeros(2, len(texts))
    logits[:, 5] = 1.0
    failed, other = draw([sampler({}, 0, [end], form), sampler({}, 1, [end])], logits)
    assert isinstance(failed, Invalid)
    assert failed.faults[0].loc == ("parameters", "constraint")
    assert other == Drawn(5)
