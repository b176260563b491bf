"""Calls in a text that a model writes, found while it comes: in the model's own form, or JSON alone where the text was
made to be a call."""

from models_registry.call_forms import CallForm
from service.front.api.openai.call_grammar import GRAMMARS
from service.front.api.openai.tools import ToolCall


class ToolCallReader:
    """Of one text. Without `reads_calls` there are none in it; where it `is_call`, all of it is JSON of a call."""

    def __init__(self, form: CallForm, *, reads_calls: bool, is_call: bool) -> None:
        self._grammar = GRAMMARS[form]
        self._reads_calls = reads_calls
        self._is_call = is_call
        self._held = ""
        self._is_beginning = True

    def add(self, text: str) -> str:
        """What of the text so far surely belongs to no call."""
        if not self._reads_calls:
            return text
        self._held += text
        if self._is_call:
            return ""
        free = self._grammar.free(self._held, is_beginning=self._is_beginning)
        content, self._held = self._held[:free], self._held[free:]
        self._is_beginning &= not content
        return content

    def end(self) -> tuple[str, list[ToolCall]]:
        """The rest of the text, and the calls. What can't be read as a call stays text."""
        held, self._held = self._held, ""
        try:
            calls = [self._grammar.required(held)] if self._is_call else self._grammar.read(held)
        except (ValueError, RecursionError):
            return held, []
        return ("" if calls else held), calls
