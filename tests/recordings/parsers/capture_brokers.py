# SPDX-License-Identifier: Apache-2.0
"""Makes the recordings of AMQP and MQTT anew: `python -m tests.recordings.parsers.capture_brokers [name...]`."""

import sys
from collections.abc import Callable

import pika

from tests import amqp_client, brokers
from tests.recordings.parsers.capture import Relay, write


def amqp() -> None:
    programs = f"pika {pika.__version__}; RabbitMQ 3.10"
    with brokers.rabbitmq() as server:
        for what, said in ((amqp_client.work, "work"), (amqp_client.fail, "fail"), (amqp_client.denied, "denied")):
            relay = Relay(server.port)
            write(f"amqp-{said}", "amqp", programs, f"amqp_client.{said}", relay, what(relay.port))


RECIPES: dict[str, Callable[[], None]] = {recipe.__name__: recipe for recipe in (amqp,)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or RECIPES:
        RECIPES[chosen]()
