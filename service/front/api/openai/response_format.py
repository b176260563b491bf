"""The form that a text is to have: `response_format`, as a constraint of ours."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from service.front.api.http.bodies import JsonObject


class TextFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"] = Field(description="Any text.")

    def constraint(self) -> None:
        return None


class JsonFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["json_object"] = Field(description="A JSON object of any fields.")

    def constraint(self) -> dict[str, Any]:
        return {"json_schema": {"type": "object"}}


class NamedSchema(BaseModel):
    """`name`, `description` and `strict` are for OpenAI's own models: a schema is always held to."""

    model_config = ConfigDict(extra="ignore")

    of: JsonObject = Field(
        alias="schema",
        title="Schema",
        description="The JSON schema that the text is of.",
        examples=[{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}],
    )


class SchemaFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["json_schema"] = Field(description="JSON of a schema.")
    json_schema: NamedSchema = Field(title="Json Schema", description="The schema and its name.")

    def constraint(self) -> dict[str, Any]:
        return {"json_schema": self.json_schema.of}


ResponseFormat: TypeAlias = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]
