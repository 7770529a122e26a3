# SPDX-License-Identifier: Apache-2.0
"""Makes the recordings of Dubbo anew: `python -m tests.recordings.parsers.capture_dubbo`."""

from collections import Counter

from tests.dubbo_servers import VERSION, Called, ask_wrongly, client, connect, dubbo
from tests.recordings.parsers.capture import Relay, Said, write

OUTCOMES = {
    "value": ("20", 20, False),
    "exception": ("exception", 20, True),
    "failed": ("40", 40, True),  # there is no such version of the service
    "none": ("", 0, False),
}


def expected(called: Counter[Called]) -> Counter[Said]:
    return Counter({(one.content, *OUTCOMES[one.outcome]): count for one, count in called.items()})


def main() -> None:
    with dubbo() as provider:
        for serialization in ("hessian2", "fastjson2"):
            relay = Relay(provider.port)
            called = client(provider, port=relay.port, serialization=serialization, rounds=1, heartbeat_ms=300)
            programs = f"Dubbo {VERSION}, {serialization}"
            write(f"dubbo-{serialization}", "dubbo", programs, "shop.CartClient", relay, expected(called))
        relay = Relay(provider.port)
        with connect(relay.port) as connection:
            status = ask_wrongly(connection, 3)
        refused = Counter[Said]({("shop.Cart#add", str(status), status, True): 3})
        write("dubbo-refused", "dubbo", f"a socket; Dubbo {VERSION}", "arguments that are none", relay, refused)


if __name__ == "__main__":
    main()
