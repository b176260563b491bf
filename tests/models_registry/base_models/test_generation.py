import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from models_registry.base_models.generation import parse_parameters
from models_registry.base_models.huggingface import HuggingFaceSpec
from models_registry.errors import Invalid, TooLong
from models_registry.inputs.values import Inputs

Open = Callable[..., HuggingFaceSpec]


@pytest.fixture
def generator(opened: Open, llama: Path) -> tuple[HuggingFaceSpec, nn.Module]:
    return built(opened(llama))


def built(spec: HuggingFaceSpec) -> tuple[HuggingFaceSpec, nn.Module]:
    return spec, spec.build(torch.device("cpu"), None)


def texts_of(texts: list[str]) -> Inputs:
    return Inputs(texts=tuple(texts))


def never() -> bool:
    return False


def refused(raw: dict[str, Any]) -> list[tuple[str | int, ...]]:
    with pytest.raises(Invalid) as caught:
        parse_parameters(raw)
    return [fault.loc for fault in caught.value.faults]


def test_it_continues_a_text_as_transformers_does_greedily(
    generator: tuple[HuggingFaceSpec, nn.Module], llama: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    spec, module = generator
    ids = tokenizer("a b c", return_tensors="pt")["input_ids"]
    model: Any = LlamaForCausalLM.from_pretrained(llama)
    tokens = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)
    expected = tokenizer.decode(tokens[0, 3:], skip_special_tokens=True)
    assert spec.generate(module, texts_of(["a b c"]), {"max_new_tokens": 6}, never) == (expected,)
    assert expected


def test_a_text_among_others_is_continued_as_it_is_alone(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    texts = ["a", "b c d e f g", "h i"]
    together = spec.generate(module, texts_of(texts), {"max_new_tokens": 5}, never)
    assert together == tuple(spec.generate(module, texts_of([text]), {"max_new_tokens": 5}, never)[0] for text in texts)


def test_a_models_own_taste_in_sampling_does_not_leak_in(opened: Open, llama: Path) -> None:
    greedy = opened(llama)
    expected = greedy.generate(greedy.build(torch.device("cpu"), None), texts_of(["a b"]), {"max_new_tokens": 8}, never)
    shipped = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "eos_token_id": 2, "max_length": 3}
    (llama / "generation_config.json").write_text(json.dumps(shipped))
    spec, module = built(opened(llama))
    assert spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 8}, never) == expected


def test_a_seed_makes_sampling_reproducible(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    sample = {"do_sample": True, "temperature": 3.0, "max_new_tokens": 12}
    first, again, other = (spec.generate(module, texts_of(["a"]), sample | {"seed": seed}, never) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_sampling_leaves_the_global_generator_alone(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    before = torch.random.get_rng_state()
    spec.generate(module, texts_of(["a"]), {"do_sample": True, "seed": 1}, never)
    spec.generate(module, texts_of(["a"]), {"do_sample": True}, never)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_top_k_of_one_is_greedy_at_any_temperature(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    sampled = spec.generate(
        module, texts_of(["a b"]), {"do_sample": True, "top_k": 1, "temperature": 9.0, "max_new_tokens": 6}, never
    )
    assert sampled == spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 6}, never)


def test_a_stop_string_ends_a_continuation(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    whole = spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 8}, never)[0].split()
    stopped = spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 8, "stop_strings": [whole[2]]}, never)[
        0
    ].split()
    assert len(stopped) == whole.index(whole[2]) + 1


def test_a_text_ends_before_what_stop_names_as_openai_means_it(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    whole = spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 8}, never)[0]
    words = whole.split()
    for stop in (words[2], [words[5], words[2]]):
        (stopped,) = spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 8, "stop": stop}, never)
        assert stopped == whole[: whole.index(words[2])]
    for nothing in (None, [], "nowhere"):
        assert spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 8, "stop": nothing}, never) == (whole,)


def test_max_tokens_is_another_word_for_max_new_tokens(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    expected = spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 3}, never)
    assert spec.generate(module, texts_of(["a b"]), {"max_tokens": 3}, never) == expected
    assert parse_parameters({"max_tokens": None}).length == 64
    with pytest.raises(Invalid):
        parse_parameters({"max_tokens": 3, "max_new_tokens": 3})


@pytest.mark.parametrize(
    ("raw", "numbers"),
    [
        ({"top_logprobs": 21, "logprobs": True}, ("20", "21")),
        ({"presence_penalty": -2.5}, ("-2", "-2.5")),
        ({"stop_token_ids": [1] * 65}, ("64", "65")),
        ({"logit_bias": {str(id): 1 for id in range(1025)}}, ("1024", "1025")),
        ({"logit_bias": {"3": 101}}, ("100", "101")),
        ({"stop": "x" * 257}, ("256", "257")),
        ({"min_new_tokens": 9, "max_new_tokens": 3}, ("9", "3")),
        ({"max_new_tokens": 5000}, ("4096", "5000")),
        ({"constraint": {"regex": "x" * 4097}}, ("4096", "4097")),
        ({"constraint": {"json_schema": {"const": "x" * 70_000}}}, ("65536", "70013")),
    ],
)
def test_a_bound_is_answered_with_what_was_sent_beside_it(raw: dict[str, Any], numbers: tuple[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        parse_parameters(raw)
    (fault,) = caught.value.faults
    assert fault.loc[:2] in [("parameters", name) for name in raw] or fault.loc == ("parameters",)
    assert all(number in fault.message for number in numbers)


@pytest.mark.parametrize(
    "constraint",
    [
        {},
        {"json_object": False},
        {"regex": "a", "choice": ["a"]},
        {"regex": ""},
        {"choice": []},
        {"jsonschema": {}},
        {"json_schema": {"const": {1}}},
    ],
)
def test_a_constraint_is_exactly_one_of_the_known_forms(constraint: dict[str, Any]) -> None:
    assert refused({"constraint": constraint})[0][:2] == ("parameters", "constraint")


def test_a_form_cannot_be_asked_of_a_text_that_never_ends() -> None:
    assert refused({"constraint": {"json_object": True}, "ignore_eos": True}) == [("parameters",)]


def test_logprobs_of_others_need_those_of_the_tokens() -> None:
    assert refused({"top_logprobs": 2}) == [("parameters",)]


def test_the_keys_of_biases_are_read_as_json_has_them() -> None:
    assert parse_parameters({"logit_bias": {"7": 1, "0": -2.5}}).logit_bias == {7: 1.0, 0: -2.5}
    assert parse_parameters({"logit_bias": None}).logit_bias == {}
    assert refused({"logit_bias": {"x": 1}}) == [("parameters", "logit_bias", "x")]


def test_an_unknown_parameter_is_answered_with_what_was_meant() -> None:
    with pytest.raises(Invalid) as caught:
        parse_parameters({"temperatur": 0.5, "beams": 1})
    messages = [fault.message for fault in caught.value.faults]
    assert "Did you mean 'temperature'?" in messages[0]
    assert "max_new_tokens" in messages[1]


def test_tokens_that_the_model_lacks_are_refused_by_their_parameter(opened: Open, llama: Path) -> None:
    spec, _ = built(opened(llama))
    with pytest.raises(Invalid) as caught:
        spec.prepare(texts_of(["a"]), None, {"logit_bias": {"31": 1, "30": 1}, "stop_token_ids": [4, 99]})
    places = [fault.loc for fault in caught.value.faults]
    assert places == [("parameters", "logit_bias", 31), ("parameters", "stop_token_ids", 1)]
    assert "0 to 30" in caught.value.faults[0].message


def test_a_token_that_ends_a_text_is_no_part_of_it(
    generator: tuple[HuggingFaceSpec, nn.Module], tokenizer: PreTrainedTokenizerFast
) -> None:
    spec, module = generator
    words = spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 8}, never)[0].split()
    stop = tokenizer.convert_tokens_to_ids(words[3])
    stopped = spec.generate(module, texts_of(["a b"]), {"max_new_tokens": 8, "stop_token_ids": [stop]}, never)
    assert stopped == (" ".join(words[: words.index(words[3])]),)


def test_a_text_may_go_on_behind_the_models_own_end(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    ends_at_once = {"max_new_tokens": 4, "logit_bias": {"2": 100}}
    assert spec.generate(module, texts_of(["a b"]), ends_at_once, never) == ("",)
    biased = ends_at_once | {"logit_bias": {"2": 100, "5": 100}, "ignore_eos": True, "no_repeat_ngram_size": 1}
    assert spec.generate(module, texts_of(["a b"]), biased, never)[0].split()


def test_penalties_do_not_see_the_padding_of_other_texts(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    texts = ["a", "b c d e f g", "h i"]
    raw = {"max_new_tokens": 6, "no_repeat_ngram_size": 1, "repetition_penalty": 1.5, "frequency_penalty": 1.0}
    together = spec.generate(module, texts_of(texts), raw, never)
    assert together == tuple(spec.generate(module, texts_of([text]), raw, never)[0] for text in texts)


def test_what_generate_cannot_do_is_refused(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    with pytest.raises(Invalid) as caught:
        spec.generate(module, texts_of(["a"]), {"logprobs": True, "constraint": {"regex": "a"}}, never)
    assert [fault.loc for fault in caught.value.faults] == [("parameters", "logprobs"), ("parameters", "constraint")]


def test_the_default_length_gives_way_to_the_models_positions(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    assert spec.generate(module, texts_of(["a " * 30]), {}, never)
    with pytest.raises(Invalid, match="fit") as caught:
        spec.generate(module, texts_of(["a", "a " * 30]), {"max_new_tokens": 3}, never)
    assert [fault.loc for fault in caught.value.faults] == [("inputs", "text", 1)]


def test_a_prompt_may_be_tokens(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    words = texts_of(["a b c", "d"])
    ids = tuple(prompt.ids for prompt in spec.prompts(words, {}))
    asked = {"max_new_tokens": 5}
    assert spec.generate(module, Inputs(tokens=ids), asked, never) == spec.generate(module, words, asked, never)
    with pytest.raises(TooLong, match=r"31 tokens.*32"):
        spec.prompts(Inputs(tokens=((3,) * 31,)), {"max_new_tokens": 2})
    with pytest.raises(Invalid) as caught:
        spec.prompts(Inputs(tokens=((3,), (10**6,))), {})
    assert [fault.loc for fault in caught.value.faults] == [("inputs", "text", 1)]


def test_only_a_text_generation_model_generates(opened: Open, bert: Path) -> None:
    spec, module = built(opened(bert))
    with pytest.raises(Invalid, match="feature-extraction"):
        spec.generate(module, texts_of(["a"]), {}, never)


@pytest.mark.parametrize(
    "raw",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 10**9},
        {"max_new_tokens": "8"},
        {"max_new_tokens": True},
        {"do_sample": 1},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"top_k": -1},
        {"seed": -1},
        {"stop_strings": "x"},
        {"min_p": 1.1},
        {"presence_penalty": -2.5},
        {"frequency_penalty": 3},
        {"top_logprobs": 21},
        {"logprobs": 1},
        {"num_beams": 4},
        {"trust_remote_code": True},
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(raw: dict[str, Any]) -> None:
    assert refused(raw) == [("parameters", *raw)]


def test_every_wrong_parameter_is_listed() -> None:
    assert refused({"top_k": -1, "beams": 2}) == [("parameters", "top_k"), ("parameters", "beams")]


def test_an_empty_stop_string_is_refused() -> None:
    assert refused({"stop_strings": ["x", ""]}) == [("parameters", "stop_strings", 1)]


def test_lengths_that_contradict_each_other_are_refused() -> None:
    assert refused({"min_new_tokens": 9, "max_new_tokens": 3}) == [("parameters",)]


def test_a_continuation_ends_at_the_token_at_which_nobody_waits_for_it_any_more(
    generator: tuple[HuggingFaceSpec, nn.Module],
) -> None:
    spec, module = generator
    asked: list[None] = []

    def after_three() -> bool:
        asked.append(None)
        return len(asked) == 3

    whole = spec.generate(module, texts_of(["a b", "c"]), {"max_new_tokens": 8}, never)
    ended = spec.generate(module, texts_of(["a b", "c"]), {"max_new_tokens": 8}, after_three)
    assert len(asked) == 3
    assert all(all_of.startswith(part) and part != all_of for part, all_of in zip(ended, whole, strict=True))


def test_a_sampled_text_is_drawn_by_the_seed_and_its_place_alone(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    sample = {"do_sample": True, "temperature": 3.0, "max_new_tokens": 12, "seed": 1}
    together = spec.generate(module, texts_of(["a"] * 5), sample, never)
    parts = [spec.generate(module, texts_of(["a"] * len(part)), sample, never, part) for part in ([0, 1], [2, 3, 4])]
    assert tuple(text for part in parts for text in part) == together
    assert len(set(together)) == 5


def test_a_text_far_too_long_is_refused_by_its_characters(generator: tuple[HuggingFaceSpec, nn.Module]) -> None:
    spec, module = generator
    with pytest.raises(Invalid) as raised:
        spec.read(module, Inputs(texts=("a", "a " * 1_000_000)))
    (fault,) = raised.value.faults
    assert fault.loc == ("inputs", "text", 1)
    assert "2000000 characters" in fault.message
