# SPDX-License-Identifier: Apache-2.0
"""Real message brokers on loopback, as tests/servers.py starts other servers."""

from __future__ import annotations

import getpass
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import MissingProgram, Server, free_port, program, running

# The script in the PATH wants to become another user; this is what it runs.
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@contextmanager
def mosquitto(*, password: tuple[str, str] | None = None, denied: str | None = None) -> Iterator[Server]:
    """mosquitto for MQTT 3.1.1 and 5. With `password` (user, word) nobody else gets in; topic `denied` is for nobody."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="firesteel-mosquitto-") as name:
        folder = Path(name)
        lines = [f"listener {port} 127.0.0.1", "persistence false", f"allow_anonymous {str(password is None).lower()}"]
        # Otherwise it becomes a user who may not read what is here.
        lines.append(f"user {getpass.getuser()}")
        if password:
            words = folder / "words"
            subprocess.run(["mosquitto_passwd", "-b", "-c", str(words), *password], check=True, capture_output=True)
            lines.append(f"password_file {words}")
        if denied:
            rules = folder / "rules"
            rules.write_text(f"topic readwrite #\ntopic deny {denied}\n")
            lines.append(f"acl_file {rules}")
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        command = [program("mosquitto"), "-c", str(folder / "mosquitto.conf")]
        with running("mosquitto", command, "127.0.0.1", port, folder) as server:
            yield server


@contextmanager
def rabbitmq() -> Iterator[Server]:
    """RabbitMQ with its user guest and no plugin; its node, its log and Erlang's name service are its own."""
    if not _RABBITMQ.exists():
        raise MissingProgram("rabbitmq-server")
    port, names, nodes = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="firesteel-rabbitmq-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for part in ("logs", "data", "names"):
            (folder / part).mkdir()
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text("log.console = false\n")
        environment = {
            "HOME": name,
            "RABBITMQ_NODENAME": f"firesteel{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(nodes),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        epmd = [program("epmd"), "-port", str(names), "-address", "127.0.0.1"]
        with (
            running("epmd", epmd, "127.0.0.1", names, folder / "names"),
            _listening(folder, environment, port) as server,
        ):
            yield server


@contextmanager
def _listening(folder: Path, environment: dict[str, str], port: int) -> Iterator[Server]:
    # The process that listens is Erlang's, which the script becomes.
    with running(
        "rabbitmq", [str(_RABBITMQ)], "127.0.0.1", port, folder, environment=environment, seconds=90
    ) as server:
        yield server
