"""Kafka twice: what the product calls of aiokafka, and what aiokafka sends to the broker.

The driver tries again by itself after many failures, so that a fault on the wire often never reaches the
product. A failure of a function of the driver always does.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError

from tests.faults.interceptor import Failing, Interceptor, replace

_PATIENCE_S = 0.3
_READ_PATIENCE_S = 2.0  # longer than the product waits for a read, so that its own time limit is met
_CONFIRM_PATIENCE_S = 10.0  # longer than the product waits for a confirmation
_ENDS = ("stop", "close")


def watch_kafka(interceptor: Interceptor, topic_prefix: str) -> None:
    """Let every call to Kafka of this process pass through the interceptor.

    Args:
        interceptor: counts and fails them.
        topic_prefix: of all topics here; it is left out of the names of calls.
    """
    replace(AIOKafkaProducer, "send_batch", functools.partial(_sending, interceptor, topic_prefix))
    for kind, role in (
        (AIOKafkaProducer, _producer),
        (AIOKafkaConsumer, _consumer),
        (AIOKafkaAdminClient, _admin),
    ):
        for name, function in inspect.getmembers(kind, inspect.iscoroutinefunction):
            if name.startswith("_") or name == "send_batch":
                continue
            make = _ending if name in _ENDS else _asking
            setattr(kind, name, make(interceptor, role, name, function))
    replace(AIOKafkaConnection, "connect", functools.partial(_connecting, interceptor))
    replace(AIOKafkaConnection, "send", functools.partial(_requesting, interceptor))


def _producer(_: Any) -> str:
    return "producer"


def _admin(_: Any) -> str:
    return "admin"


def _consumer(consumer: Any) -> str:
    """Several of them are in a process: the member of a group, and those that read on their own."""
    return "reader" if consumer._group_id is None else "member"


def _asking(interceptor: Interceptor, role: Callable[[Any], str], name: str, real: Any) -> Any:
    patience_s = _READ_PATIENCE_S if name == "getmany" else _PATIENCE_S

    async def ask(client: Any, *arguments: Any, **options: Any) -> Any:
        return await interceptor.around(
            "kafka",
            f"{role(client)}.{name}",
            lambda: real(client, *arguments, **options),
            Failing(
                error=lambda: KafkaConnectionError("the connection was lost"),
                timeout=KafkaTimeoutError,
                patience_s=patience_s,
            ),
        )

    return ask


def _ending(interceptor: Interceptor, role: Callable[[Any], str], name: str, real: Any) -> Any:
    """Stop a client. The driver always tries to: what can fail is the way there."""

    async def end(client: Any) -> None:
        ended = False

        async def perform() -> None:
            nonlocal ended
            await real(client)
            ended = True

        def break_up() -> None:
            for connection in list(_client_of(client)._conns.values()):
                if connection._writer is not None:
                    connection._writer.transport.abort()

        failing = Failing(error=_Struck, timeout=_Struck, patience_s=_PATIENCE_S, break_up=break_up)
        try:
            await interceptor.around("kafka", f"{role(client)}.{name}", perform, failing)
        except _Struck:
            if ended:
                raise KafkaConnectionError("the connection was lost") from None
            await real(client)

    return end


def _client_of(client: Any) -> Any:
    """What holds the connections of a producer, a consumer or an admin client."""
    return client.client if isinstance(client, AIOKafkaProducer) else client._client


class _Struck(Exception):  # noqa: N818 - no error: nothing of it reaches the product
    """The fault has struck."""


def _sending(interceptor: Interceptor, topic_prefix: str, real: Any) -> Any:
    """Send a batch and have it confirmed: one call in two steps."""

    async def send_batch(producer: Any, batch: Any, topic: str, *, partition: int) -> Any:
        async def perform() -> Any:
            return await (await real(producer, batch, topic, partition=partition))

        sent = interceptor.around(
            "kafka",
            f"producer.send_batch {topic.removeprefix(topic_prefix)}",
            perform,
            Failing(
                error=lambda: KafkaConnectionError("the connection was lost"),
                timeout=KafkaTimeoutError,
                patience_s=_CONFIRM_PATIENCE_S,
            ),
        )
        return asyncio.create_task(sent)

    return send_batch


def _failing(connection: Any) -> Failing:
    return Failing(
        error=lambda: KafkaConnectionError("the connection was lost"),
        patience_s=_PATIENCE_S,
        break_up=lambda: connection.close(reason=CloseReason.CONNECTION_BROKEN),
    )


def _connecting(interceptor: Interceptor, real: Any) -> Any:
    async def connect(connection: Any) -> Any:
        return await interceptor.around(
            "kafka wire", "connect", lambda: real(connection), _failing(connection)
        )

    return connect


def _requesting(interceptor: Interceptor, real: Any) -> Any:
    def send(connection: Any, request: Any, expect_response: bool = True) -> Any:
        return interceptor.around(
            "kafka wire",
            type(request).__name__.removesuffix("Request"),
            lambda: real(connection, request, expect_response),
            _failing(connection),
        )

    return send
