"""Calls models through the published package, attached to the service in every way that there is."""

import asyncio
import json
import sys
from types import SimpleNamespace
from uuid import uuid4

from llmring.service import LoggingService
from openai import AsyncOpenAI

from llmring import LLMRequest, LLMRing, LLMRingSession, Message, log_llm_call, log_llm_stream
from llmring.api import APIConfigurationError, APIService
from llmring.api.attach import usage_fields

SERVER, KEY, AWAY = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "Hello"}]


def request(**more: object) -> LLMRequest:
    return LLMRequest(model="openai:gpt-4o-mini", messages=[Message(**each) for each in MESSAGES], **more)


async def decorated(origin: str) -> None:
    client = AsyncOpenAI()

    @log_llm_call(server_url=SERVER, api_key=KEY, provider="openai", alias="quick", origin=origin)
    async def call(messages: list[dict[str, str]]) -> object:
        return await client.chat.completions.create(model="gpt-4o-mini", messages=messages)

    @log_llm_stream(server_url=f"{SERVER}/", api_key=KEY, provider="openai", origin=f"{origin} stream")
    async def stream(messages: list[dict[str, str]]) -> object:
        details = SimpleNamespace(cached_tokens=2)
        usage = SimpleNamespace(
            prompt_tokens=7, completion_tokens=3, total_tokens=10, prompt_tokens_details=details
        )
        yield SimpleNamespace(model="gpt-4o-mini", choices=[], usage=usage)

    await call(MESSAGES)
    assert [chunk async for chunk in stream(MESSAGES)]
    await asyncio.sleep(0.2)  # the package logs in a task of its own
    await client.close()


async def main() -> None:
    api = APIService(SERVER, KEY)
    registry = f"{SERVER}/registry"
    ring = api.attach(LLMRing(origin="attached", registry_url=registry))
    await ring.chat(request(metadata={"user_id": "u1"}), profile=None)
    async for _ in ring.chat_stream(request()):
        pass
    costly = api.attach(LLMRing(origin="costly", registry_url=registry, server_url=AWAY), send_cost=True)
    await costly.chat(request())
    session = api.attach(LLMRingSession(origin="session", registry_url=registry))
    conversation = uuid4()
    await session.chat_with_conversation(request(), conversation_id=conversation, store_messages=False)
    await decorated("decorated")

    # A server that is away costs the program nothing, and a ring that is not attached is as it was.
    away = APIService(AWAY, KEY, queue_path=None)
    await away.attach(LLMRing(origin="away", registry_url=registry)).chat(request())
    plain = LLMRing(origin="plain", registry_url=registry, server_url=SERVER, api_key=KEY)
    assert type(plain.logging_service) is LoggingService
    assert plain.api_service is None
    await plain.chat(request())
    try:
        plain.complete(model="gpt-4o-mini", messages=MESSAGES)
    except RuntimeError as error:
        assert "complete_async" in str(error)  # noqa: PT017 - there is no pytest here
    try:
        plain.list_models()
    except APIConfigurationError:
        state = await api.flush()
    await api.close()
    await decorated("after the end")
    lost = await away.close(timeout_s=0.1)
    anthropic = usage_fields(
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 9,
            "cache_creation_1h_tokens": 4,
        }
    )
    print(
        json.dumps(
            {
                "sent": state.sent,
                "pending": lost.pending,
                "conversation": str(conversation),
                "anthropic": anthropic,
            }
        )
    )


asyncio.run(main())
