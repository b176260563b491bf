"""What is asked of `/v1/responses`: a chat in other words. Nothing is kept, so nothing is continued by an id."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from models_registry.call_forms import CallForm
from models_registry.inputs.values import Inputs
from models_registry.records import Location
from service.front.api.openai.chat_body import ChatBody
from service.front.api.openai.places import Places
from service.front.api.openai.response_format import JsonFormat, NamedSchema, ResponseFormat, SchemaFormat, TextFormat
from service.front.api.openai.response_input import read_input
from service.front.api.openai.response_writer import ResponseWriter
from service.front.api.openai.text_request import IGNORED, TextRequest
from service.front.api.openai.tools import FunctionDefinition, NamedFunction, NamedTool, Tool, ToolChoice

ECHOED = ("instructions", "max_output_tokens", "temperature", "top_p")


class OfFunctions(BaseModel):
    type: Literal["function"] = Field(description="The only kind that there is.")


class FlatTool(FunctionDefinition, OfFunctions):
    def as_tool(self) -> Tool:
        function = FunctionDefinition(name=self.name, description=self.description, parameters=self.parameters)
        return Tool(type="function", function=function)


class FlatNamedTool(NamedFunction, OfFunctions):
    pass


class FlatSchemaFormat(NamedSchema):
    type: Literal["json_schema"] = Field(description="JSON of a schema.")


TextForm: TypeAlias = Annotated[TextFormat | JsonFormat | FlatSchemaFormat, Field(discriminator="type")]


class TextOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: TextForm | None = Field(
        default=None, description="The form of the text.", examples=[{"type": "json_object"}]
    )


class ResponsesBody(TextRequest):
    """Fields that don't change the text (`user`, `service_tier`, `stream_options`, …) are ignored; unknown ones are
    refused. `metadata` is returned with the answer."""

    PREFIX: ClassVar[str] = "resp_"
    CHAT: ClassVar[bool | None] = None
    IGNORES: ClassVar[frozenset[str]] = IGNORED - {"metadata", "store"} | {"max_tool_calls", "stream_options"}

    input: str | list[dict[str, Any]] = Field(
        description="A text, or messages `{role, content}`, `function_call` and `function_call_output`.",
        examples=["Tell me about the sea."],
    )
    instructions: str | None = Field(
        default=None, description="Stands before the input, as the system's message.", examples=["Be brief."]
    )
    max_output_tokens: int | None = Field(
        default=None, description="How many tokens to write at most; as many as fit, up to 4096.", examples=[256]
    )
    temperature: float | None = Field(
        default=None, description="Of the draw; 0 is greedy, as is no temperature at all.", examples=[0.7]
    )
    top_p: float | None = Field(
        default=None, description="Draw among the most probable tokens of this weight.", examples=[0.95]
    )
    text: TextOptions | None = Field(default=None, title="Text", description="What the text is like.")
    tools: list[FlatTool] | None = Field(default=None, description="Functions that the model may call.")
    tool_choice: Literal["none", "auto", "required"] | FlatNamedTool | None = Field(
        default=None, description="Whether it must call one, and which.", examples=["auto"]
    )
    metadata: dict[str, str] | None = Field(
        default=None, description="Comes back with the answer.", examples=[{"topic": "sea"}]
    )
    store: Literal[False] | None = Field(default=None, description="Only false: nothing is kept.")
    background: Literal[False] | None = Field(default=None, description="Only false: the answer is waited for.")
    truncation: Literal["disabled"] | None = Field(default=None, description="An input that is too long is refused.")
    include: list[Literal["reasoning.encrypted_content"]] | None = Field(
        default=None, description="There is nothing more to include.", examples=[[]]
    )
    previous_response_id: None = Field(
        default=None, description="Only null: nothing is kept, so send what was said before.", examples=[None]
    )

    @property
    def places(self) -> Places:
        names = dict(self._chat.places.parameters)
        names |= {"max_new_tokens": "max_output_tokens", "constraint": "tools" if self._chat.must_call else "text"}
        return Places("input", parameters=names, fields={"response_format": "text"}, messages=self._messages[1])

    def inputs(self) -> Inputs:
        return self._chat.inputs()

    def parameters(self) -> dict[str, Any]:
        return self._chat.parameters()

    def writer(self, head: Mapping[str, Any], call_form: CallForm) -> ResponseWriter:
        form = TextFormat(type="text") if self.text is None or self.text.format is None else self.text.format
        asked = self.model_dump(include=set(ECHOED)) | {
            "metadata": {**(self.metadata or {}), "system_fingerprint": head["system_fingerprint"]},
            "text": {"format": form.model_dump(by_alias=True)},
            "tools": [tool.model_dump(exclude_none=True) for tool in self.tools or ()],
            "tool_choice": self.model_dump()["tool_choice"] or "auto",
        }
        reader = self._chat.call_reader(call_form)
        return ResponseWriter(
            {**asked, "id": head["id"], "created_at": head["created"], "model": head["model"]}, reader
        )

    # ---- inside -------------------------------------------------------------------------------------------------

    @cached_property
    def _messages(self) -> tuple[list[dict[str, Any]], list[Location]]:
        """And where each came from."""
        messages, places = read_input(self.input)
        if self.instructions is None:
            return messages, places
        return [{"role": "system", "content": self.instructions}, *messages], [("instructions",), *places]

    @cached_property
    def _chat(self) -> ChatBody:
        return ChatBody(
            model=self.model,
            messages=self._messages[0],
            max_completion_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            response_format=self._response_format,
            tools=None if self.tools is None else [tool.as_tool() for tool in self.tools],
            tool_choice=self._tool_choice,
        )

    @property
    def _tool_choice(self) -> ToolChoice | None:
        if not isinstance(self.tool_choice, FlatNamedTool):
            return self.tool_choice
        return NamedTool(type="function", function=NamedFunction(name=self.tool_choice.name))

    @property
    def _response_format(self) -> ResponseFormat | None:
        form = None if self.text is None else self.text.format
        return SchemaFormat(type="json_schema", json_schema=form) if isinstance(form, FlatSchemaFormat) else form
