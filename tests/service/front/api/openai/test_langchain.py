"""langchain-openai as it is: what it sends beside its texts is taken, what it reads is there."""

import httpx
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import BadRequestError
from pydantic import SecretStr
from scripted_texts import ENDED, Call, Script

KEY = SecretStr("none")


def test_a_chat_and_its_stream_are_read(address: str, http: httpx.Client, script: Script) -> None:
    def act(call: Call) -> None:
        if call.on_part is not None:
            call.write("Yo ")
            call.write("ho", end=ENDED)
        call.finish("Yo ho")

    script.act = act
    chat = ChatOpenAI(model="tone", base_url=f"{address}/v1", api_key=KEY, http_client=http, max_completion_tokens=5)
    answer = chat.invoke("Tell me about the sea.")
    assert answer.content == "Yo ho"
    assert answer.response_metadata["system_fingerprint"].startswith("tone@2:")
    chunks = list(chat.stream("Tell me about the sea."))
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert "".join(str(chunk.content) for chunk in chunks) == "Yo ho"


def test_another_models_token_ids_are_refused_with_the_way_out(address: str, http: httpx.Client) -> None:
    embeddings = OpenAIEmbeddings(model="caller", base_url=f"{address}/v1", api_key=KEY, http_client=http)
    with pytest.raises(BadRequestError) as raised:
        embeddings.client.create(model="caller", input=[[1, 99_999]])
    assert "check_embedding_ctx_length=False" in raised.value.message
