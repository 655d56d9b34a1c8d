"""A process that has imported the product and forks: every process of a street is a copy of it.

An import takes a second, a fork a few milliseconds. It holds no connection, thread or event loop, so that a
copy is what `llmring-api worker rater` would be. Orders come through a socket, each with the file descriptors
for the copy's report and log.

    python -m tests.faults.stem SOCKET_FD TOPIC_PREFIX
"""

import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

import aiokafka
import msgspec

from shared.contracts import topics

_MAX_ORDER_BYTES = 64 * 1024
_ONCE = (
    "services.cli.process",
    "uvicorn.lifespan.off",
    "tests.faults.bugs",
    "tests.faults.edges.kafka",
    "tests.faults.edges.postgres",
    "tests.faults.edges.redis",
)
"""Imported before the first fork, for every copy."""

PARTITIONS = 3
"""Of the topics that have many: enough to have records in several."""


def rename_topics(prefix: str) -> None:
    """Give the topics of this process a prefix, so that many streets share a broker.

    It comes before all other imports, since those take the names with them.
    """
    known = {topic: min(count, PARTITIONS) for topic, count in topics.TOPICS.items()}
    topics.TOPICS.update(known)
    for name, value in list(vars(topics).items()):
        if isinstance(value, str) and value in known:
            setattr(topics, name, prefix + value)
        elif isinstance(value, dict) and value.keys() == known.keys():
            renamed = {prefix + topic: what for topic, what in value.items()}
            value.clear()
            value.update(renamed)


def hurry_the_driver() -> None:
    """Let the Kafka client look again soon for what it did not find at once, as it does at every start."""
    from shared.event_log.kafka import clients

    for settings in (clients.CONSUMER, clients.GROUP):
        settings["retry_backoff_ms"] = 20


def serve(orders: socket.socket, prefix: str) -> None:
    """Fork for each order, until the other side closes the socket; then end, with all copies."""
    from tests.faults.calls import Order

    decoder = msgspec.json.Decoder(Order)
    hurry_the_driver()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they report by themselves
    gc.collect()
    gc.freeze()
    try:
        while True:
            message, descriptors, _, _ = socket.recv_fds(orders, _MAX_ORDER_BYTES, 2)
            if not message:
                return
            order = decoder.decode(message)
            pid = os.fork()
            if pid == 0:
                orders.close()
                live(order, *descriptors, prefix)
            for descriptor in descriptors:
                os.close(descriptor)
            orders.send(str(pid).encode())
    finally:
        os.killpg(0, signal.SIGKILL)


def live(order: Any, report: int, log: int, prefix: str) -> NoReturn:
    """Be one process of the product, from its settings to its exit status."""
    from services.cli.process import run_one
    from services.cli.settings import ProcessSettings
    from services.separate import SERVICES, WORKERS
    from tests.faults.bugs import BUGS
    from tests.faults.calls import Report
    from tests.faults.edges.kafka import watch_kafka
    from tests.faults.edges.postgres import watch_postgres
    from tests.faults.edges.redis import watch_redis
    from tests.faults.interceptor import Interceptor

    encoder = msgspec.json.Encoder()

    def say(what: Report) -> None:
        os.write(report, encoder.encode(what) + b"\n")

    status = 1
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        name_groups(order.group_suffix)
        if order.bug is not None:
            BUGS[order.bug]()
        if order.counted or order.fault is not None:
            interceptor = Interceptor(order.fault, say, counted=order.counted)
            watch_postgres(interceptor)
            watch_kafka(interceptor, prefix)
            watch_redis(interceptor)
        settings = msgspec.convert(order.settings, ProcessSettings, strict=False)
        run_one(order.process, (SERVICES | WORKERS)[order.process], settings)
        status = 0
    except SystemExit as leaving:  # SIGTERM while it starts
        status = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    say(Report(ended=status))
    os._exit(status)


def name_groups(suffix: str) -> None:
    """Let the consumer groups of this process be new ones.

    One that has died is a member of its group until its session is over, and another member would wait for
    that. Nothing depends on it: where a group stands is in Postgres.
    """
    real = aiokafka.AIOKafkaConsumer.__init__

    def init(consumer: Any, *arguments: Any, group_id: str | None = None, **options: Any) -> None:
        named = None if group_id is None else group_id + suffix
        real(consumer, *arguments, group_id=named, **options)

    aiokafka.AIOKafkaConsumer.__init__ = init


if __name__ == "__main__":
    rename_topics(sys.argv[2])
    for module in _ONCE:
        importlib.import_module(module)
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
