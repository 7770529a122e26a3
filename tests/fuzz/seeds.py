# SPDX-License-Identifier: Apache-2.0
"""Makes the fuzzers' seeds from tests/recordings/parsers: `python -m tests.fuzz.seeds` writes tests/fuzz/seeds/ anew."""

import hashlib
import shutil
from pathlib import Path

from tests.conversations import Conversation, load_all
from tests.unit.test_sql import EVERY

SEEDS = Path(__file__).parent / "seeds"
TARGETS = {
    "http": "http1",
    "http2": "http2",
    "grpc": "http2",
    "dns": "dns",
    "tls": "tls",
    "mysql": "mysql",
    "postgresql": "postgresql",
    "mongodb": "mongodb",
    "redis": "redis",
    "amqp": "amqp",
    "kafka": "kafka",
    "rocketmq": "rocketmq",
    "dubbo": "dubbo",
    "mqtt": "mqtt",
    "memcached": "memcached",
}
DATAGRAMS = {"dns-dig-udp", "dns-dig-dnsmasq"}
# As parser.h reads them.
RESPONSE, DATAGRAM, WITH_WAITING = 1, 4, 8
LONGEST = 4093
# As fuzz-tracking.c reads them: what a step does, and what a payload is.
OPEN, CLOSE, DATAGRAMS_STEP, DATA = 0, 2, 4, 9
WITH_ROLE, BYTES = 2, 0xFF
SCRIPT = 16_000
"""Bytes of a conversation's script at most."""


def save(target: str, data: bytes) -> None:
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)


def script_of(conversation: Conversation, role: str) -> bytes:
    """The conversation as its end `role` sees it: opened, a millisecond for each chunk, closed. Long ones without their end."""
    ident = 0 if role == "client" else 1
    steps = [] if conversation.datagrams else [bytes([OPEN, ident, 1, WITH_ROLE])]
    for side, data in conversation.chunks:
        for at in range(0, len(data), 4096):
            piece = data[at : at + 4096]
            step = DATAGRAMS_STEP if conversation.datagrams else DATA
            direction = 1 if side == role else 0
            steps.append(bytes([step, ident, 100, direction, BYTES]) + len(piece).to_bytes(2, "big") + piece)
    whole = b"".join(steps)
    while len(whole) > SCRIPT:
        whole = whole[: -len(steps.pop())]
    return whole + bytes([CLOSE, ident, 1])


def main() -> None:
    shutil.rmtree(SEEDS)
    for dialect, statement, _ in EVERY:
        save("sql", bytes([dialect]) + statement.encode())
    for number, conversation in enumerate(load_all()):
        save("tracking", script_of(conversation, ("server", "client")[number % 2]))
        target = TARGETS.get(conversation.protocol)
        if target is None:
            continue
        datagram = DATAGRAM if conversation.name in DATAGRAMS else 0
        for side, options in (("client", datagram), ("server", datagram | RESPONSE | WITH_WAITING)):
            pieces = conversation.sent(side)
            if not datagram:
                pieces = [pieces[0], b"".join(pieces[:3])]
            for piece in dict.fromkeys(piece[:LONGEST] for piece in pieces):
                save(target, bytes([options, 0, len(piece) // 2 % 256]) + piece)
        if conversation.name == "http-websocket":
            for side, options in (("client", 1), ("server", 0)):
                for piece in conversation.sent(side)[1:]:
                    save("websocket", bytes([options, 0, 1]) + piece)
        if target == "http1":
            for data in conversation.sent("client"):
                words = data.split(b" ", 2)
                if len(words) == 3 and words[1].startswith(b"/"):
                    save("cluster", b"\x01" + words[1])
                    save("cluster", b"\x00http://user:word@host" + words[1] + b"?q=1#f;v")


if __name__ == "__main__":
    main()
