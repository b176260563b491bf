"""The demo's own tokenizer, token by token."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from models_registry.base_models.constraint import Constraint
from models_registry.base_models.detokenizer import Detokenizer
from models_registry.base_models.stop_strings import StopStrings
from service.host.generation.grammar_compiler import GrammarCompiler
from service.host.generation.text_stream import TextStream

VOCABULARY, END = 49152, 2


@pytest.fixture(scope="module")
def tokenizer(demo_models: Path) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(demo_models / "smollm2", local_files_only=True)
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def test_parts_of_a_text_make_what_all_its_tokens_give(tokenizer: PreTrainedTokenizerBase) -> None:
    detokenizer = Detokenizer(tokenizer)
    text = st.text(max_size=40).map(lambda text: tokenizer(text).input_ids)
    tokens = st.lists(st.one_of(st.integers(0, VOCABULARY - 1), st.integers(0, 280)), max_size=60)

    @settings(max_examples=80, deadline=None)
    @given(st.one_of(text, tokens), st.sampled_from([[], [" "], ["e"]]), st.sampled_from([[], ["a"]]))
    def check(ids: list[int], before: list[str], behind: list[str]) -> None:
        stream, stops = TextStream(detokenizer, StopStrings(before, behind)), StopStrings(before, behind)
        parts = [stream.add(id) for id in ids]
        whole = tokenizer.decode(ids, skip_special_tokens=True)
        assert isinstance(whole, str)
        assert "".join(parts) + stream.end() == stops.read(whole) + stops.end()

    check()


def test_its_tokens_follow_a_form(tokenizer: PreTrainedTokenizerBase) -> None:
    schema = {"type": "object", "properties": {"sea": {"const": "salty 🌊"}}, "required": ["sea"]}
    grammar = GrammarCompiler(tokenizer, VOCABULARY, [END]).compile(Constraint(json_schema=schema))
    for id in tokenizer('{"sea": "salty 🌊"').input_ids:
        assert grammar.allowed(VOCABULARY)[id]
        grammar.accept(id)
    assert not grammar.allowed(VOCABULARY)[END]
    assert not grammar.is_complete
