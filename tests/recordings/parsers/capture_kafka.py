# SPDX-License-Identifier: Apache-2.0
"""Makes the recordings of Kafka anew: `python -m tests.recordings.parsers.capture_kafka`."""

from collections import Counter
from importlib.metadata import version

from tests.kafka_broker import VERSION, kafka
from tests.kafka_client import Client, consume, work
from tests.recordings.parsers.capture import Relay, Said, write


def expected(client: Client) -> Counter[Said]:
    return Counter(
        {
            (asked, answer, int(answer or 0) & 0xFFFF, answer not in {"", "0"}): count
            for (asked, answer), count in client.said.items()
        }
    )


def main() -> None:
    programs = f"kafka-python {version('kafka-python')}; Kafka {VERSION}"
    with kafka() as server:
        relay = Relay(server.port)
        with Client(relay.port) as client:
            work(client, "orders")
        write("kafka-topics", "kafka", programs, "kafka_client.work", relay, expected(client))
        relay = Relay(server.port)
        with Client(relay.port, None) as client:
            client.metadata(12, "orders")
            consume(client, "shop", "orders")
        write("kafka-groups", "kafka", programs, "kafka_client.consume, without a client id", relay, expected(client))


if __name__ == "__main__":
    main()
