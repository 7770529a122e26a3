# SPDX-License-Identifier: Apache-2.0
"""Ten services as users have them, and the truth of who talks to whom in the end."""

from collections import Counter
from dataclasses import dataclass

from tests.cluster.shop import Pod, Shop
from tests.http_scripts import ASK, SERVE

SERVE6 = SERVE.replace("daemon_threads = True", "daemon_threads = True; address_family = socket.AF_INET6")
# Answers every question with one address.
DNS_SERVE = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", int(sys.argv[2])))
answer = bytes.fromhex("c00c 0001 0001 0000012c 0004") + socket.inet_aton("203.0.113.9")
while True:
    q, who = s.recvfrom(512)
    s.sendto(q[:2] + bytes.fromhex("8180 0001 0001 0000 0000") + q[12:] + answer, who)
"""
DNS_ASK = """
import socket, sys
for i in range(int(sys.argv[3])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
    s.sendto(bytes([7, i]) + bytes.fromhex("0100 0001 0000 0000 0000") + b"\\x03api\\x07example\\x03com\\0" + bytes.fromhex("0001 0001"), (sys.argv[1], int(sys.argv[2])))
    assert s.recv(512)[-4:] == socket.inet_aton("203.0.113.9"); s.close()
"""
# Takes what was redirected to it, as user 1337, and carries it to where it was going (SO_ORIGINAL_DST).
SIDECAR = """
import os, socket, struct, sys, threading
s = socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=64)
os.setuid(1337)
def carry(a, b):
    while data := a.recv(65536): b.sendall(data)
    b.shutdown(socket.SHUT_WR)
def serve(c):
    _, port, ip = struct.unpack("!2sH4s8x", c.getsockopt(0, 80, 16))
    up = socket.socket(); up.connect((socket.inet_ntoa(ip), port))
    t = threading.Thread(target=carry, args=(up, c)); t.start(); carry(c, up); t.join(); c.close(); up.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
FAIL = ASK.replace('assert c.getresponse().read() == b"ok"', "assert c.getresponse().status == 500")
CATALOG, WEB, OPEN, DNS, CACHE = "10.96.0.10", "10.96.0.11", "10.96.0.12", "10.96.0.53", "fd96::10"
OUTSIDE, FAILING = "203.0.113.9", "198.51.100.86"
"""One is asked for by a name, the other has none and answers 500."""
HOST_PORT = 9200
"""Of a server that is no pod's, at the node's address as well as a pod with hostNetwork."""
BALANCED = "198.51.100.7"
NODE_PORT, OPEN_PORT = 30080, 30081
BUYER, VISITOR = "203.0.113.50", "203.0.113.51"
STATIC = "0123456789abcdef0123456789abcdef"


_HOST = ("NOT_FOUND_INTERNAL", "", "", "")


@dataclass(frozen=True, slots=True)
class Edge:
    """What an edge of the metrics page says of both ends. A host process has no names but its node's."""

    src_namespace: str
    src_workload: str
    src_pod: str
    src_container: str
    dst_namespace: str
    dst_workload: str
    dst_pod: str
    dst_container: str
    dst_service: str
    dst_ip: str
    dst_port: str
    protocol: str
    dst_domain: str = ""
    src_ip: str = ""
    """Of a client outside only."""


class Demo:
    """Everything runs once it is made; `run` makes the requests, `truth` is what they come to."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.truth: Counter[Edge] = Counter()
        self.failed: Counter[Edge] = Counter()
        """Of these."""
        net = shop.node.ipv4.rsplit(".", 2)[0]
        self.far_node, self.far_ip = f"{net}.251.1", f"{net}.252.7"
        shop.put_node("far", shop.far.add(self.far_node))
        self.frontend = shop.pod("frontend-5d4f8c7b9-x2x4z", "deployment", "frontend", ipv6=True, systemd=True)
        self.catalogs = [
            shop.pod(f"catalog-5d4f8c7b9-{end}", "deployment", "catalog", port=8080) for end in ("b2b4c", "d5d7f")
        ]
        self.db = shop.pod("db-0", "statefulset", "db", port=8080)
        self.web = shop.pod("web-0", "rollout", "web", port=8080)
        self.exporter = shop.pod(
            "exporter-k7k9l", "daemonset", "exporter", namespace="kube-system", host_network=True, port=9100
        )
        self.dns = shop.pod("coredns-5d4f8c7b9-m2m4n", "deployment", "coredns", namespace="kube-system")
        self.cache = shop.pod("cache-0", "statefulset", "cache", ipv6=True, port=8080)
        self.etcd = shop.pod(
            f"etcd-{shop.name}", "staticpod", "etcd", namespace="kube-system", static=STATIC, port=2381
        )
        self.batch = shop.pod("nightly-29384756-p5p7q", "cronjob", "nightly")
        self.mesh = shop.pod("mesh-0", "statefulset", "mesh", containers=("app", "proxy"))
        far_exporter = shop.far_pod(
            "exporter-z2z4x", "daemonset", "exporter", self.far_node, "far", namespace="kube-system"
        )
        reviews = shop.far_pod("reviews-5d4f8c7b9-r5r7s", "deployment", "reviews", self.far_ip, "far")
        for address in (OUTSIDE, FAILING, BUYER, VISITOR):
            shop.far.add(address)
        shop.far.failing.add(FAILING)
        shop.node.masquerade(f"{VISITOR}/32", f"{self.etcd.ip}/32")  # as externalTrafficPolicy: Cluster has it
        for pod in (*self.catalogs, self.db, self.web):
            shop.serve(pod, 8080)
        shop.serve(self.exporter, 9100)
        shop.serve(None, HOST_PORT)
        shop.serve(self.etcd, 2381)
        shop.serve(self.cache, 8080, SERVE6, address=self.cache.ip6)
        shop.serve(self.dns, 53, DNS_SERVE, kind="udp")
        shop.serve(self.mesh, 15001, SIDECAR, container="proxy", address="127.0.0.1")
        shop.start()
        assert self.mesh.space is not None
        self.mesh.space.run(
            "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-m", "owner", "!", "--uid-owner", "1337",
            "!", "-d", "127.0.0.0/8", "-j", "REDIRECT", "--to-ports", "15001",
        )  # fmt: skip
        shop.service("catalog", 80, [(pod, pod.ip, 8080) for pod in self.catalogs], vip=CATALOG)
        shop.service("db", 8080, [(self.db, self.db.ip, 8080)])
        shop.service(
            "web", 80, [(self.web, self.web.ip, 8080)], vip=WEB, node_port=NODE_PORT, policy="Local", balancer=BALANCED
        )
        shop.service(
            "open",
            80,
            [(self.etcd, self.etcd.ip, 2381)],
            vip=OPEN,
            node_port=OPEN_PORT,
            policy="Cluster",
            namespace="kube-system",
        )
        shop.service("dns", 53, [(self.dns, self.dns.ip, 53)], vip=DNS, l4="UDP", namespace="kube-system")
        shop.service("cache", 80, [(self.cache, self.cache.ip6, 8080)], vip=CACHE)
        shop.service("exporter", 9100, [(self.exporter, self.exporter.ip, 9100), (far_exporter, self.far_node, 9100)], namespace="kube-system")  # fmt: skip
        shop.service("reviews", 9080, [(reviews, self.far_ip, 9080)])

    def run(self) -> None:
        ask, node = self.shop.ask, self.shop.node.ipv4
        ask(self.frontend, CATALOG, 80, 20)
        for pod in self.catalogs:
            self._expect(self.frontend, pod, 10, "catalog", 8080)
        ask(self.frontend, self.db.ip, 8080, 7)
        self._expect(self.frontend, self.db, 7, "db", 8080)
        ask(self.frontend, node, NODE_PORT, 6)
        self._expect(self.frontend, self.web, 6, "web", 8080)
        ask(self.frontend, BALANCED, 80, 5)
        self._expect(self.frontend, self.web, 5, "web", 8080)
        ask(self.frontend, self.exporter.ip, 9100, 5)
        self._expect(self.frontend, self.exporter, 5, "exporter", 9100)
        ask(self.frontend, DNS, 53, 4, DNS_ASK)
        self._expect(self.frontend, self.dns, 4, "dns", 53, protocol="dns")
        ask(self.frontend, OUTSIDE, 80, 8)
        self._add(self.frontend, 8, ("NOT_FOUND_EXTERNAL", "", "", "", "", OUTSIDE, "80", "http", "api.example.com"))
        self.fail(6)
        ask(self.frontend, CACHE, 80, 9)
        self._expect(self.frontend, self.cache, 9, "cache", 8080, ip=self.cache.ip6)
        ask(self.frontend, self.etcd.ip, 2381, 3)
        self._expect(self.frontend, self.etcd, 3, "open", 2381)
        ask(None, CATALOG, 80, 4)
        for pod in self.catalogs:
            self._expect(None, pod, 2, "catalog", 8080)
        # Two of one address, the node's, each as client and as server.
        ask(self.exporter, node, HOST_PORT, 6)
        self._add(self.exporter, 6, (*_HOST, "", node, str(HOST_PORT), "http"))
        ask(None, node, 9100, 3)
        self._expect(None, self.exporter, 3, "exporter", 9100)
        ask(self.batch, self.db.ip, 8080, 11)
        self._expect(self.batch, self.db, 11, "db", 8080)
        ask(self.mesh, CATALOG, 80, 12, container="app")
        for pod in self.catalogs:
            self._expect(self.mesh, pod, 6, "catalog", 8080, container="proxy")
        # What the sidecar takes over was asked of the Service: both hops are requests, of two containers.
        asked = ("shop", "service/catalog", "", "", "catalog", CATALOG, "80", "http")
        self._add(self.mesh, 12, asked, "app")
        # From outside through a node's port: the client is seen, whether or not the node stands in for it on the way.
        outside = ("NOT_FOUND_EXTERNAL", "", "", "")
        for client, port, pod, service in (
            (BUYER, NODE_PORT, self.web, "web"),
            (VISITOR, OPEN_PORT, self.etcd, "open"),
        ):
            self.shop.far.ask(client, node, port, 5)
            named = (
                pod.namespace,
                f"{pod.kind}/{pod.workload}",
                pod.name,
                "main",
                service,
                pod.ip,
                "8080" if pod is self.web else "2381",
                "http",
            )
            self.truth[Edge(*outside, *named, src_ip=client)] += 5
        self.shop.far.ask(BUYER, BALANCED, 80, 3)
        through = (
            self.web.namespace,
            f"{self.web.kind}/{self.web.workload}",
            self.web.name,
            "main",
            "web",
            self.web.ip,
        )
        self.truth[Edge(*outside, *through, "8080", "http", src_ip=BUYER)] += 3
        ask(self.frontend, self.far_node, 9100, 5)
        self._add(
            self.frontend,
            5,
            ("kube-system", "daemonset/exporter", "exporter-z2z4x", "", "exporter", self.far_node, "9100", "http"),
        )
        ask(self.frontend, self.far_ip, 9080, 13)
        self._add(
            self.frontend,
            13,
            ("shop", "deployment/reviews", "reviews-5d4f8c7b9-r5r7s", "", "reviews", self.far_ip, "9080", "http"),
        )

    def fail(self, count: int) -> None:
        """So many requests outside, each answered 500."""
        self.shop.ask(self.frontend, FAILING, 80, count, FAIL)
        self._add(self.frontend, count, ("NOT_FOUND_EXTERNAL", "", "", "", "", FAILING, "80", "http"), failed=True)

    def _expect(
        self, source: Pod | None, to: Pod, count: int, service: str, port: int, *, ip: str = "", protocol: str = "http", container: str = "",
    ) -> None:  # fmt: skip
        named = (
            to.namespace,
            f"{to.kind}/{to.workload}",
            to.name,
            next(iter(to.prefixes)),
            service,
            ip or to.ip,
            str(port),
            protocol,
        )
        self._add(source, count, named, container)

    def _add(
        self, source: Pod | None, count: int, to: tuple[str, ...], container: str = "", *, failed: bool = False
    ) -> None:
        if source is None:
            here = _HOST
        else:
            here = (
                source.namespace,
                f"{source.kind}/{source.workload}",
                source.name,
                container or next(iter(source.prefixes)),
            )
        self.truth[Edge(*here, *to)] += count
        if failed:
            self.failed[Edge(*here, *to)] += count
