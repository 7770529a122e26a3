# SPDX-License-Identifier: Apache-2.0
"""Makes the memcached recordings anew: `python -m tests.recordings.parsers.capture_memcached`, from the top of the tree."""

from collections.abc import Callable, Mapping
from functools import partial

import pymemcache

from tests import memcached_client as client
from tests.recordings.parsers.capture import Relay, version, write

SERVER = version("memcached", "-V")


def speaker(name: str) -> str:
    return f"pymemcache {pymemcache.__version__}" if name == "pymemcache" else "a socket"


def main() -> None:
    recipes: dict[str, Callable[[int], Mapping[client.Said, int]]] = {
        "commands": client.commands,
        "pipelined": client.pipelined,
        "quiet-meta": client.quiet_meta,
        "packets": partial(client.packets, large=False),
        "quiet-packets": partial(client.quiet_packets, keys=4),
        "pymemcache": partial(client.everyday, rounds=1),
    }
    for name, recipe in recipes.items():
        with client.memcached() as server:
            relay = Relay(server.port)
            said = recipe(relay.port)
            write(
                f"memcached-{name}",
                "memcached",
                f"{speaker(name)}; {SERVER}",
                f"memcached_client, {name}",
                relay,
                said,
            )


if __name__ == "__main__":
    main()
