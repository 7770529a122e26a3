# SPDX-License-Identifier: Apache-2.0
"""Makes the recordings of RocketMQ anew: `python -m tests.recordings.parsers.capture_rocketmq`."""

from collections import Counter

from tests.recordings.parsers.capture import Relay, Said, write
from tests.rocketmq_servers import BINARY, VERSION, Cluster, client, rocketmq
from tests.rocketmq_servers import Said as Asked

# A broker says that its address is this, where a relay listens at the same port.
RELAYED = "127.0.0.2"


def expected(said: Counter[Asked], port: int) -> Counter[Said]:
    counts = Counter[Said]()
    for one, count in said.items():
        if one.port != port:
            continue
        content = "Topic:*" if "/" in one.content else one.content
        if one.answer == "none":
            counts[content, "", 0, False] += count
        elif one.answer == "lost":
            counts[content, "no response", 0, True] += count
        else:
            counts[content, one.answer, int(one.answer), one.answer != "0"] += count
    return counts


def record(cluster: Cluster, part: str, name: str, *options: str) -> None:
    programs = f"rocketmq-client {VERSION}; rocketmq-broker {VERSION}, rocketmq-namesrv {VERSION}"
    command = " ".join([f"RocketmqClient.java {part}", *options])
    names = Relay(cluster.name_server.port)
    broker = Relay(cluster.broker.port, listen=(RELAYED, cluster.broker.port))
    said = client(cluster, part, options=options, name_server=names.port)
    write(f"rocketmq-{name}", "rocketmq", programs, command, broker, expected(said, broker.port))
    if part == "work":
        write(f"rocketmq-names-{name}", "rocketmq", programs, command, names, expected(said, names.port))


def main() -> None:
    for options, name in (((), "json"), ((BINARY,), "binary")):
        for part in ("work", "ask"):
            with rocketmq(RELAYED) as cluster:
                record(cluster, part, f"{part}-{name}", "-Drounds=2", *options)


if __name__ == "__main__":
    main()
