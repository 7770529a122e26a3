# SPDX-License-Identifier: Apache-2.0
"""Makes the recordings of AMQP and MQTT anew: `python -m tests.recordings.parsers.capture_brokers [name...]`."""

import sys
from collections.abc import Callable

import paho.mqtt
import pika

from tests import amqp_client, brokers, mqtt_client
from tests.recordings.parsers.capture import Relay, version, write
from tests.servers import program


def amqp() -> None:
    programs = f"pika {pika.__version__}; RabbitMQ 3.10"
    with brokers.rabbitmq() as server:
        for what, said in ((amqp_client.work, "work"), (amqp_client.fail, "fail"), (amqp_client.denied, "denied")):
            relay = Relay(server.port)
            write(f"amqp-{said}", "amqp", programs, f"amqp_client.{said}", relay, what(relay.port))


def mqtt() -> None:
    programs = f"paho-mqtt {paho.mqtt.__version__}; {version(program('mosquitto'), '-h')}"
    for spoken, name in ((mqtt_client.V311, "3.1.1"), (mqtt_client.V5, "5")):
        with brokers.mosquitto() as server:
            relay = Relay(server.port)
            said = mqtt_client.work(relay.port, spoken)
            write(f"mqtt-work-{name[0]}", "mqtt", programs, f"mqtt_client.work, {name}", relay, said)
        with brokers.mosquitto(password=("user", "right-word")) as server:
            relay = Relay(server.port)
            said = mqtt_client.denied(relay.port, spoken)
            write(f"mqtt-denied-{name[0]}", "mqtt", programs, f"mqtt_client.denied, {name}", relay, said)


RECIPES: dict[str, Callable[[], None]] = {recipe.__name__: recipe for recipe in (amqp, mqtt)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or RECIPES:
        RECIPES[chosen]()
