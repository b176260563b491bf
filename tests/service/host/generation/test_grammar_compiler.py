import json
from typing import Any

import numpy as np
import pytest
from tiny_tokenizers import END, byte_level
from word_models import word_tokenizer

from models_registry.base_models.constraint import Constraint
from models_registry.errors import Invalid, Unsupported
from service.host.generation.grammar import Grammar
from service.host.generation.grammar_compiler import GrammarCompiler

TOKENIZER = byte_level()
PERSON = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
CHAIN = "\n".join(["start: a0", *(f"a{link}: a{link + 1}" for link in range(4000)), 'a4000: "x"'])
"""Each rule names the next one; following so many takes more stack than a thread has."""


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    end = TOKENIZER.convert_tokens_to_ids(END)
    assert isinstance(end, int)
    return GrammarCompiler(TOKENIZER, len(TOKENIZER), [end])


def ids_of(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False).input_ids


def takes(grammar: Grammar, text: str) -> bool:
    for id in ids_of(text):
        if not grammar.allowed(len(TOKENIZER))[id]:
            return False
        grammar.accept(id)
    return True


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        (Constraint(json_schema=PERSON), '{"a": 12}', '{"b": 1}'),
        (Constraint(json_object=True), '{"anything": [1, null]}', "[1]"),
        (Constraint(regex="[a-c]+d"), "abcad", "abe"),
        (Constraint(regex=r"\d/\w"), "1/a", "٣/a"),
        (Constraint(regex="a|b\n"), "b\n", "c"),
        (Constraint(choice=["yes (a.b)", "no"]), "yes (a.b)", "yes (axb)"),
        (Constraint(lark='start: "<call>" obj "</call>"\nobj: %json {"type": "object"}'), '<call>{"a":1}</call>', "{}"),
    ],
)
def test_a_text_is_held_to_its_form(compiler: GrammarCompiler, constraint: Constraint, good: str, bad: str) -> None:
    grammar = compiler.compile(constraint)
    assert takes(grammar, good)
    assert grammar.is_complete or grammar.allowed(len(TOKENIZER))[TOKENIZER.convert_tokens_to_ids(END)]
    assert not takes(compiler.compile(constraint), bad)


def test_each_text_has_its_own_place_in_the_form(compiler: GrammarCompiler) -> None:
    grammar = compiler.compile(Constraint(regex="abab"))
    assert takes(grammar, "ab")
    other = grammar.fresh()
    assert takes(other, "abab")
    assert takes(grammar, "ab")
    assert grammar.is_complete


def test_more_tokens_than_the_tokenizer_has_are_never_allowed(compiler: GrammarCompiler) -> None:
    grammar = compiler.compile(Constraint(regex=".*"))
    assert not grammar.allowed(len(TOKENIZER) + 100)[len(TOKENIZER) :].any()
    assert grammar.allowed(10).shape == (10,)


def test_blanks_between_jsons_tokens_have_a_bound(compiler: GrammarCompiler) -> None:
    assert takes(compiler.compile(Constraint(json_object=True)), "{" + " " * 30 + "}")
    assert not takes(compiler.compile(Constraint(json_object=True)), "{" + " " * 60 + "}")


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        ({"json_schema": {"type": "objec"}}, "objec"),
        ({"json_schema": {"not": {"type": "string"}}}, "not"),
        ({"json_schema": {"$ref": "http://example.com/schema.json"}}, "example.com"),
        ({"json_schema": {"$ref": "#/$defs/nowhere"}}, "nowhere"),
        ({"regex": "[a-"}, "unclosed"),
        ({"regex": "(?=a)b"}, "look-around"),
        ({"lark": "start: nowhere"}, "nowhere"),
        ({"lark": CHAIN}, "too deeply"),
        ({"json_schema": {"type": "integer", "multipleOf": 99_999_989}}, "more than 2 s"),
    ],
)
def test_a_form_that_can_not_be_compiled_is_refused_with_the_reason(
    compiler: GrammarCompiler, constraint: dict[str, Any], reason: str
) -> None:
    for _ in range(2):  # the second time, from what is remembered
        with pytest.raises(Invalid) as caught:
            compiler.compile(Constraint.model_validate(constraint))
        (fault,) = caught.value.faults
        assert fault.loc == ("parameters", "constraint")
        assert reason in fault.message
        assert len(fault.message) < 400


def test_a_tokenizer_that_can_not_be_held_to_a_form_is_refused() -> None:
    tokenizer = word_tokenizer()
    with pytest.raises(Unsupported, match="decoder"):
        GrammarCompiler(tokenizer, len(tokenizer), [2]).compile(Constraint(json_object=True))


def test_one_step_of_an_ambiguous_form_is_given_up_in_bounds(compiler: GrammarCompiler) -> None:
    grammar = compiler.compile(Constraint(lark='start: a\na: a a | "a" | a a a'))
    with pytest.raises(Invalid, match="further"):
        takes(grammar, "a" * 500)


def test_whatever_is_drawn_at_random_is_json_of_the_schema(compiler: GrammarCompiler) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        grammar, text = compiler.compile(Constraint(json_schema=PERSON)), list[int]()
        while not grammar.is_complete and len(text) < 400:
            allowed = grammar.allowed(len(TOKENIZER)).numpy().nonzero()[0]
            text.append(int(rng.choice(allowed)))
            grammar.accept(text[-1])
        whole = TOKENIZER.decode(text, skip_special_tokens=True)
        assert isinstance(whole, str)
        assert list(json.loads(whole)) == ["a"]
