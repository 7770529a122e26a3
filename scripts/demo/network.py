# SPDX-License-Identifier: Apache-2.0
"""The demo's network: one namespace for each service, cables to a street, and a way from there to the internet's.

Neither the machine's own network namespace nor its addresses are touched, so no address of it can be in the way. The names
lie in a mount namespace of the demo's own: they end with it.

    www  shop  payment  cache  db  names  browser          each 10.88.0.N/24
      |    |      |       |     |    |       |
      +----+------+-------+-----+----+-------+-- street 10.88.0.1 -- 203.0.113.1 -- internet 203.0.113.20, 25
"""

from collections.abc import Sequence
from typing import Final

from scripts.demo.programs import program, run

STREET: Final = "street"
INTERNET: Final = "internet"
GATEWAY: Final = "10.88.0.1"
ADDRESSES: Final = {
    "www": "10.88.0.10",
    "shop": "10.88.0.11",
    "payment": "10.88.0.12",
    "cache": "10.88.0.13",
    "db": "10.88.0.14",
    "names": "10.88.0.53",
    "browser": "10.88.0.100",
}
# RFC 5737's third block: nobody in the internet has it.
BANK: Final = "203.0.113.20"
MAIL: Final = "203.0.113.25"
"""Of the bank's machine as well; nobody listens there."""
_INTERNET_GATEWAY: Final = "203.0.113.1"


def inside(space: str) -> list[str]:
    """In front of a command, it has that run in the namespace. The kernel's names of processes stay the command's own."""
    return [program("ip"), "netns", "exec", space]


def lay_out() -> None:
    """Makes all namespaces and cables."""
    _space(STREET)
    _ip("-n", STREET, "link", "add", "bridge", "type", "bridge")
    _address(STREET, "bridge", f"{GATEWAY}/24")
    for number, (space, address) in enumerate(ADDRESSES.items()):
        _space(space)
        _cable(space, f"to{number}", ["master", "bridge"])
        _address(space, "eth0", f"{address}/24")
        _ip("-n", space, "route", "add", "default", "via", GATEWAY)
    _space(INTERNET)
    _cable(INTERNET, "out", [])
    _address(STREET, "out", f"{_INTERNET_GATEWAY}/24")
    for address in (BANK, MAIL):
        _address(INTERNET, "eth0", f"{address}/24")
    _ip("-n", INTERNET, "route", "add", "default", "via", _INTERNET_GATEWAY)
    run(*inside(STREET), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")


def _space(name: str) -> None:
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")


def _cable(space: str, far: str, options: Sequence[str]) -> None:
    _ip("link", "add", far, "netns", STREET, "type", "veth", "peer", "name", "eth0", "netns", space)
    _ip("-n", STREET, "link", "set", far, *options, "up")


def _address(space: str, device: str, address: str) -> None:
    _ip("-n", space, "addr", "add", address, "dev", device)
    _ip("-n", space, "link", "set", device, "up")


def _ip(*arguments: str) -> None:
    run(program("ip"), *arguments)
