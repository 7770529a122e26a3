# SPDX-License-Identifier: Apache-2.0
"""Things to do with an MQTT broker, and what of them must be counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

# Request content, response content, status, whether it is an error: as in the recordings' `expected`.
Said = tuple[str, str, int, bool]
V311, V5 = paho.MQTTv311, paho.MQTTv5


def fine(content: str) -> Said:
    return content, "", 0, False


def connect(port: int, version: MQTTProtocolVersion, *, password: str = "", in_flight: int = 20) -> tuple[Any, Any]:
    """A client whose loop runs in a thread, and the reason it was told."""
    client: Any = paho.Client(CallbackAPIVersion.VERSION2, protocol=version)
    told: list[Any] = []
    answered = threading.Event()

    def on_connect(*arguments: Any) -> None:
        told.append(arguments[3])
        answered.set()

    client.on_connect = on_connect
    client.max_inflight_messages_set(in_flight)
    if password:
        client.username_pw_set("user", password)
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert answered.wait(10)
    return client, told[0]


def work(port: int, version: MQTTProtocolVersion = V311, *, rounds: int = 1, size: int = 50) -> Counter[Said]:
    """One client subscribes and publishes to itself with every quality of service, one message after the other."""
    done: Counter[Said] = Counter([fine("CONNECT")])
    client, reason = connect(port, version)
    assert not reason.is_failure
    came = threading.Semaphore(0)
    subscribed = threading.Semaphore(0)
    client.on_message = lambda *_: came.release()
    client.on_subscribe = client.on_unsubscribe = lambda *_: subscribed.release()
    for quality in (0, 1, 2):
        client.subscribe(f"shop/orders/q{'abc'[quality]}", qos=quality)
        assert subscribed.acquire(timeout=10)
        done[fine(f"SUBSCRIBE shop/orders/q{'abc'[quality]}")] += 1
    for quality in (0, 1, 2):
        topic = f"shop/orders/q{'abc'[quality]}"
        for _ in range(rounds):
            client.publish(topic, bytes(size), qos=quality)
            assert came.acquire(timeout=10)
            time.sleep(0.02)  # the rest of the handshake
            done[fine(f"PUBLISH {topic}")] += 2
    client.publish("shop/4711/state", b"x" * size, qos=0)
    done[fine("PUBLISH shop/*/state")] += 1
    client.unsubscribe("shop/orders/qa")
    assert subscribed.acquire(timeout=10)
    done[fine("UNSUBSCRIBE shop/orders/qa")] += 1
    client.disconnect()
    client.loop_stop()
    return done


def burst(port: int, version: MQTTProtocolVersion = V311, *, count: int, size: int = 50) -> Counter[Said]:
    """One client publishes to itself without waiting for anything: every message is asked for twice, by it and by the broker."""
    topic = "shop/burst/all"
    client, reason = connect(port, version, in_flight=count)
    assert not reason.is_failure
    came, subscribed = threading.Semaphore(0), threading.Event()
    client.on_message = lambda *_: came.release()
    client.on_subscribe = lambda *_: subscribed.set()
    client.subscribe(topic, qos=1)
    assert subscribed.wait(10)
    for _ in range(count):
        client.publish(topic, bytes(size), qos=1)
    for _ in range(count):
        assert came.acquire(timeout=20)
    time.sleep(0.2)  # the last acknowledgements
    client.disconnect()
    client.loop_stop()
    return Counter({fine("CONNECT"): 1, fine(f"SUBSCRIBE {topic}"): 1, fine(f"PUBLISH {topic}"): 2 * count})


def denied(port: int, version: MQTTProtocolVersion = V311) -> Counter[Said]:
    """A wrong password: code 5 in 3.1.1, 0x87 in 5."""
    client, reason = connect(port, version, password="secret-word")
    assert reason.is_failure
    client.disconnect()
    client.loop_stop()
    code = 135 if version == V5 else 5
    return Counter({("CONNECT", str(code), code, True): 1})
