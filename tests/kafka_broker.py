# SPDX-License-Identifier: Apache-2.0
"""A real Kafka broker on loopback, which is its own controller (KRaft), as tests/servers.py starts other servers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.jars import jars, java
from tests.servers import Server, _folder, free_port, running

VERSION = "4.1.0"
_ARTIFACT = f"org.apache.kafka:kafka_2.13:{VERSION}"
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.enable": "false",
}


@contextmanager
def kafka(settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A broker without topics. `settings` are lines of its server.properties on top."""
    port, controller = free_port(), free_port()
    class_path = jars(_ARTIFACT)
    with _folder() as folder:
        lines = {
            **_SETTINGS,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "log.dirs": str(folder / "data"),
            **(settings or {}),
        }
        properties = folder / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        format_ = ("kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", str(properties))
        subprocess.run(java(class_path, *format_), cwd=folder, capture_output=True, check=True, timeout=120)
        command = java(class_path, "kafka.Kafka", str(properties))
        with running("kafka", command, "127.0.0.1", port, folder, seconds=90) as server:
            yield server
