# SPDX-License-Identifier: Apache-2.0
"""Things to do with an AMQP broker, and what of them must be counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pika
import pika.exceptions

# Request content, response content, status, whether it is an error: as in the recordings' `expected`.
Said = tuple[str, str, int, bool]


def connect(port: int, *, password: str = "guest") -> Any:
    credentials = pika.PlainCredentials("guest", password)
    return pika.BlockingConnection(
        pika.ConnectionParameters("127.0.0.1", port, credentials=credentials, heartbeat=0, socket_timeout=10)
    )


def fine(content: str) -> Said:
    return content, "", 0, False


def work(port: int, *, rounds: int = 1, size: int = 100, one_by_one: bool = False) -> Counter[Said]:
    """Publishes, gets, consumes and acknowledges on two channels of one connection.

    `one_by_one`: waits for the broker's word on each message, both ways, so that no read of anybody's holds two of them.
    """
    done: Counter[Said] = Counter()
    connection = connect(port)
    done[fine("connection.open")] += 1
    for name in ("orders", "letters"):
        channel = connection.channel()
        exchange = f"shop.{name}"
        channel.exchange_declare(exchange, "topic")
        channel.queue_declare(name)
        channel.queue_bind(name, exchange, "new.#")
        if one_by_one:
            channel.confirm_delivery()
            done[fine("confirm.select")] += 1
        queued: list[str] = []
        for number in range(rounds):
            for body in (b"", b"b" * size, b"l" * 3 * size):
                channel.basic_publish(exchange, f"new.{number}", body)
            channel.basic_publish("", name, b"direct")
            queued += [exchange, exchange, exchange, name]
        for _ in range(rounds):
            assert channel.basic_get(name, auto_ack=True)[0]
        left = queued[rounds:]
        channel.basic_qos(prefetch_count=1 if one_by_one else 10)
        for index, (method, _, _) in enumerate(channel.consume(name), 1):
            channel.basic_ack(method.delivery_tag)
            if index == len(left):
                break
        channel.cancel()
        assert channel.basic_get(name)[0] is None
        channel.close()
        # Through an exchange the queue is not told; by the default one, the routing key is the queue's name.
        done += Counter(fine(f"basic.publish {place}") for place in queued)
        done += Counter(fine(f"basic.deliver {place}") for place in left)
        done[fine("basic.ack")] += len(left)
        done[fine(f"basic.get {name}")] += rounds + 1
        done += Counter(map(fine, ("channel.open", f"exchange.declare {exchange}", f"queue.declare {name}")))
        done += Counter(map(fine, (f"queue.bind {name}", "basic.qos", f"basic.consume {name}")))
        done += Counter(map(fine, ("basic.cancel", "channel.close")))
    connection.close()
    done[fine("connection.close")] += 1
    return done


def refused(kind: type[Exception], call: Callable[[], object]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError("the broker did it")


def fail(port: int) -> Counter[Said]:
    """A queue that is not there, an exchange that is not there, a message that nobody takes, and one that is refused."""
    connection = connect(port)
    channel = connection.channel()
    refused(pika.exceptions.ChannelClosedByBroker, partial(channel.queue_declare, "missing", passive=True))
    channel = connection.channel()
    # What is asked meanwhile is answered by the close or by nothing, as the broker has read it already or not.
    channel.basic_publish("nowhere", "k", b"x")
    while channel.is_open:
        connection.process_data_events(time_limit=1)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("kept")
    publish = partial(channel.basic_publish, "", "nobody", b"x" * 10, mandatory=True)
    refused(pika.exceptions.UnroutableError, publish)
    channel.basic_publish("", "kept", b"y")
    method, _, _ = channel.basic_get("kept")
    channel.basic_reject(method.delivery_tag, requeue=False)
    channel.queue_delete("kept")
    connection.close()
    happened = [
        "connection.open",
        *["channel.open"] * 3,
        "basic.publish nowhere",
        "confirm.select",
        "queue.declare kept",
    ]
    happened += ["basic.publish nobody", "basic.publish kept", "basic.get kept", "basic.reject", "queue.delete kept"]
    happened += ["channel.close", "connection.close"]
    done = Counter(map(fine, happened))
    done["queue.declare missing", "404", 404, True] += 1
    done["channel.close", "404", 404, True] += 1
    done["basic.return nobody", "312", 312, True] += 1
    return done


def denied(port: int) -> Counter[Said]:
    """A wrong password."""
    refused(pika.exceptions.AMQPConnectionError, partial(connect, port, password="secret-word"))
    return Counter({("connection.close", "403", 403, True): 1})
