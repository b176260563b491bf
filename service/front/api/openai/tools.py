"""Tools that a chat may use: how they are described, which of them must be called, and calls as they are answered."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from models_registry.errors import Invalid
from models_registry.records import Fault
from service.front.api.http.bodies import JsonObject


class FunctionDefinition(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=64, description="What the model calls it by.", examples=["weather"])
    description: str | None = Field(
        default=None, description="What it is for.", examples=["The weather at a place, today."]
    )
    parameters: JsonObject | None = Field(
        default=None,
        description="The JSON schema of its arguments.",
        examples=[{"type": "object", "properties": {"place": {"type": "string"}}}],
    )


class Tool(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["function"] = Field(description="The only kind that there is.")
    function: FunctionDefinition = Field(title="Function", description="The function.")


class NamedFunction(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = Field(description="The function to call.", examples=["weather"])


class NamedTool(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["function"] = Field(description="The only kind that there is.")
    function: NamedFunction = Field(title="Function", description="The function.")


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedTool


def call_constraint(tools: Sequence[Tool], choice: ToolChoice | None) -> dict[str, Any] | None:
    """What makes the text a call, where one is required: JSON of `{name, arguments}`. Raises `Invalid` for a tool that
    isn't among them."""
    if choice is None or choice in ("none", "auto"):
        return None
    callable_tools = tools
    if isinstance(choice, NamedTool):
        callable_tools = [tool for tool in tools if tool.function.name == choice.function.name]
    if not callable_tools:
        message = "names no tool of the request" if tools else "requires a call, and there are no tools"
        raise Invalid("The tool choice can't be followed.", [Fault(("tool_choice",), message)])
    schemas = [_call_schema(tool.function) for tool in callable_tools]
    return {"json_schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}


def _call_schema(function: FunctionDefinition) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": function.name}, "arguments": function.parameters or {"type": "object"}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


class FunctionCall(BaseModel):
    name: str = Field(description="The function to call.", examples=["weather"])
    arguments: str = Field(description="Its arguments, as JSON.", examples=['{"place": "Lisbon"}'])


class ToolCall(BaseModel):
    id: str = Field(description="What the tool's answer names it by.", examples=["call_5f0c6f2e8c4b"])
    type: Literal["function"] = Field(description="The only kind that there is.")
    function: FunctionCall = Field(title="Function", description="The call.")
