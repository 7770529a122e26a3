# SPDX-License-Identifier: Apache-2.0
"""Makes the fuzzers' seeds from tests/recordings/parsers: `python -m tests.fuzz.seeds` writes tests/fuzz/seeds/."""

import hashlib
from pathlib import Path

from tests.conversations import load_all
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
LONGEST = 597


def save(target: str, data: bytes) -> None:
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)


def main() -> None:
    for dialect, statement, _ in EVERY:
        save("sql", bytes([dialect]) + statement.encode())
    for conversation in load_all():
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
