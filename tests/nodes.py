# SPDX-License-Identifier: Apache-2.0
"""A node of network namespaces: pods that reach each other through it alone, as with a routing network plugin, and
Services by the rules that kube-proxy writes. What runs in `Node.entered` is on the node, with hostNetwork."""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.namespaces import Namespace, _ip, namespace
from tests.servers import program

_CLONE_NEWNET = 0x40000000


@dataclass(slots=True)
class Node:
    space: Namespace
    ipv4: str
    stack: ExitStack
    pods: list[Namespace] = field(default_factory=list)

    def pod(self, number: int, *, ipv6: bool = False) -> Namespace:
        """A pod with an address of its own; its way to everybody else is the node."""
        net = self.ipv4.rpartition(".")[0]
        made = self.stack.enter_context(
            namespace(f"{net}.{10 + number}", f"fd{int(net.split('.')[1]):02x}::{10 + number:x}" if ipv6 else "")
        )
        cable = f"pod{number}"
        _ip("link", "add", cable, "netns", self.space.name, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        _ip("-n", self.space.name, "link", "set", cable, "up")
        self.space.set(f"ipv4/conf/{cable}/proxy_arp", 1)
        _ip("-n", self.space.name, "route", "add", f"{made.ipv4}/32", "dev", cable)
        _ip("-n", made.name, "addr", "add", f"{made.ipv4}/32", "dev", "eth0")
        _ip("-n", made.name, "link", "set", "eth0", "up")
        _ip("-n", made.name, "route", "add", "default", "dev", "eth0", "src", made.ipv4)
        if made.ipv6:
            # The node's end is fe80::1 on every cable, as routing network plugins have it.
            _ip("-n", self.space.name, "addr", "add", "fe80::1/64", "dev", cable, "nodad")
            _ip("-n", self.space.name, "route", "add", f"{made.ipv6}/128", "dev", cable)
            _ip("-n", made.name, "addr", "add", f"{made.ipv6}/128", "dev", "eth0", "nodad")
            _ip("-n", made.name, "route", "add", "default", "via", "fe80::1", "dev", "eth0", "src", made.ipv6)
        self.pods.append(made)
        return made

    def service(self, l4: str, dialled: tuple[str, int], backends: Sequence[tuple[str, int]]) -> None:
        """kube-proxy's chain for one port of a Service: one of its backends, each as often as the others."""
        for chain in ("PREROUTING", "OUTPUT"):
            for i, (ip, port) in enumerate(backends):
                v6 = ":" in dialled[0]
                match = ["-d", f"{dialled[0]}/{128 if v6 else 32}", "-p", l4, "-m", l4, "--dport", str(dialled[1])]
                if len(backends) - i > 1:
                    match += ["-m", "statistic", "--mode", "nth", "--every", str(len(backends) - i), "--packet", "0"]
                target = f"[{ip}]:{port}" if v6 else f"{ip}:{port}"
                self._nat(chain, *match, "-j", "DNAT", "--to-destination", target, v6=v6)

    def masquerade(self, source: str, destination: str) -> None:
        """As kube-proxy does for hairpin and for externalTrafficPolicy Cluster."""
        self._nat("POSTROUTING", "-s", source, "-d", destination, "-j", "MASQUERADE")

    def _nat(self, chain: str, *rule: str, v6: bool = False) -> None:
        self.space.run(program("ip6tables" if v6 else "iptables"), "-t", "nat", "-A", chain, *rule)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and what it starts, is in the node's network namespace meanwhile."""
        libc = ctypes.CDLL(None, use_errno=True)
        inside_path = Path("/run/netns", self.space.name)
        with Path("/proc/thread-self/ns/net").open("rb") as before, inside_path.open("rb") as inside:
            _enter(libc, inside.fileno())
            try:
                yield
            finally:
                _enter(libc, before.fileno())


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def node() -> Iterator[Node]:
    net = 64 + os.getpid() % 128
    with ExitStack() as stack:
        space = stack.enter_context(namespace(f"10.{net}.250.1"))
        made = Node(space, space.ipv4, stack)
        _ip("-n", space.name, "link", "add", "uplink", "type", "bridge")
        _ip("-n", space.name, "addr", "add", f"{space.ipv4}/32", "dev", "uplink")
        _ip("-n", space.name, "link", "set", "uplink", "up")
        # An address that nobody has goes out there, as it does on a real node.
        _ip("-n", space.name, "route", "add", "default", "dev", "uplink")
        space.set("ipv4/ip_forward", 1)
        space.set("ipv6/conf/all/forwarding", 1)
        yield made
