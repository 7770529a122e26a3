# SPDX-License-Identifier: Apache-2.0
"""Machines to look at: traffic as a FakeAgent shows it, small and crowded, standing still or growing."""

import errno
import random
from dataclasses import dataclass, field, replace

from analyzers.rows import Role
from collector.traffic import NamedRequest
from tests.fake_agent import MS, SECOND, FakeAgent, Peer, request, sample_of, tcp

NGINX = Peer("127.0.0.1", "nginx.service", "systemd", comm="nginx", pid=811)
SHOP = Peer("127.0.0.1", "shop-api", "container", comm="gunicorn", pid=1402)
WORKER = Peer("127.0.0.1", "shop-worker", "container", comm="python3", pid=1420)
POSTGRES = Peer("127.0.0.1", "postgresql@15", "systemd", comm="postgres", pid=700)
REDIS = Peer("127.0.0.1", "redis-server", "systemd", comm="redis-server", pid=690)
UNBOUND = Peer("127.0.0.53", "unbound", "systemd", comm="unbound", pid=540)
PROMETHEUS = Peer("127.0.0.1", "prometheus", "systemd", comm="prometheus", pid=900)
CURL = Peer("127.0.0.1", "session-3", "systemd", comm="curl", pid=4242)
GITHUB = Peer("140.82.121.3", outside=True, domain="api.github.com")
STRIPE = Peer("3.18.12.63", outside=True, domain="api.stripe.com")
VISITORS = Peer("203.0.113.77", outside=True)
SMTP = Peer("198.51.100.25", outside=True)


@dataclass
class Scene(FakeAgent):
    """Each row has a rate; `advance` lets time pass."""

    rates: dict[int, float] = field(default_factory=dict)
    made: int = 0

    def add(self, rate: float, source: Peer, destination: Peer, port: int, **more: object) -> NamedRequest:
        index = len(self.requests) + 1
        named = request(index, source, destination, port, ended_ns=self.clock_ns, **more)  # type: ignore[arg-type]
        self.requests.append(named)
        self.rates[index] = rate
        return named

    def advance(self, seconds: float) -> None:
        """Every row grows by its rate, with the bucket and bytes that it has."""
        self.clock_ns += int(seconds * SECOND)
        for place, named in enumerate(self.requests):
            row = named.row
            more = round(self.rates[row.key.index] * seconds)
            if not more:
                continue
            each = row.count
            self.requests[place] = replace(
                named,
                row=replace(
                    row,
                    count=row.count + more,
                    duration_ns=row.duration_ns + more * row.duration_ns // each,
                    request_bytes=row.request_bytes + more * row.request_bytes // each,
                    response_bytes=row.response_bytes + more * row.response_bytes // each,
                    buckets=tuple(b + more * b // each for b in row.buckets),
                    last=replace(row.last, ended_ns=self.clock_ns),
                ),
            )

    def sample(self, number: int, seed: int = 1) -> None:
        """Records `number` more requests, busy rows more often."""
        rng = random.Random(seed)
        weights = [max(0.05, self.rates[n.row.key.index]) ** 0.5 for n in self.requests]
        for named in rng.choices(self.requests, weights, k=number):
            self.made += 1
            duration = named.row.last.duration_ns
            spent = max(1000, int(duration * rng.uniform(0.4, 1.8)))
            shares = [rng.uniform(0, 0.25), rng.uniform(0.02, 0.2), rng.uniform(0.05, 0.4)]
            connect = int(spent * shares[0]) if rng.random() < 0.3 and named.row.key.l4 == "tcp" else 0
            made = sample_of(named, self.made, start_ns=80 * SECOND + self.made * 37 * MS, local_port=40000 + self.made)
            whole = replace(
                made.sample,
                duration_ns=spent,
                connect_ns=connect,
                request_ns=int(spent * shares[1]),
                response_ns=int(spent * shares[2]),
                processing_ns=spent - connect - int(spent * shares[1]) - int(spent * shares[2]),
            )
            self.recorded.append(replace(made, sample=whole))


def shop() -> Scene:
    """A web shop on one machine: nginx, an API with failures, a database, DNS, a few peers outside."""
    scene = Scene()
    scene.add(120, VISITORS, NGINX, 443, protocol="tls", content="shop.example", status=0, role=Role.SERVER)
    scene.add(90, NGINX, SHOP, 8000, content="/api/products", duration_ns=12 * MS, response_bytes=8200)
    scene.add(21, NGINX, SHOP, 8000, content="/api/cart/*", duration_ns=34 * MS)
    scene.add(3, NGINX, SHOP, 8000, content="/api/cart/*", status=404, error=True, duration_ns=6 * MS)
    scene.add(6, NGINX, SHOP, 8000, content="/api/checkout", status=502, error=True, slow=True, duration_ns=820 * MS)
    scene.add(310, SHOP, POSTGRES, 5432, protocol="NOSUPPORT", content="", status=0, duration_ns=2 * MS)
    scene.add(700, SHOP, REDIS, 6379, protocol="NOSUPPORT", content="", status=0, duration_ns=MS // 5)
    scene.add(40, WORKER, REDIS, 6379, protocol="NOSUPPORT", content="", status=0, duration_ns=MS // 4)
    scene.add(9, WORKER, POSTGRES, 5432, protocol="NOSUPPORT", content="", status=0, duration_ns=9 * MS)
    scene.add(5, SHOP, STRIPE, 443, protocol="tls", content="api.stripe.com", status=0, duration_ns=210 * MS)
    scene.add(1.5, WORKER, GITHUB, 443, protocol="tls", content="api.github.com", status=0, duration_ns=95 * MS)
    scene.add(14, SHOP, UNBOUND, 53, protocol="dns", l4="udp", content="api.stripe.com, A", status=0, duration_ns=MS)
    scene.add(4, WORKER, UNBOUND, 53, protocol="dns", l4="udp", content="old-host.internal, A", status=3, error=True)
    scene.add(1, PROMETHEUS, SHOP, 8000, content="/metrics", duration_ns=18 * MS, response_bytes=64000)
    scene.add(0.5, CURL, NGINX, 80, content="/", status=301)
    scene.tcp = [
        tcp(1, WORKER, SMTP, 25, error=errno.ETIMEDOUT, connects=7),
        tcp(2, NGINX, SHOP, 8000, connects=44, connect_ns=44 * MS // 10, srtt_us=84, retransmits=3),
        tcp(3, SHOP, STRIPE, 443, connects=12, connect_ns=12 * 38 * MS, srtt_us=38200, retransmits=1),
    ]
    return scene


def crowd(workloads: int = 70, edges: int = 200) -> Scene:
    """Many services in some tiers; the same every time."""
    rng = random.Random(7)
    tiers = [0.15, 0.4, 0.3, 0.15]
    names = ["gate", "cart", "stock", "price", "mail", "auth", "feed", "rank", "tax", "ship", "pay", "note"]
    peers: list[list[Peer]] = []
    number = 0
    for part in tiers:
        row = []
        for _ in range(max(1, round(workloads * part))):
            name = f"{names[number % len(names)]}-{number:02d}"
            row.append(
                Peer(f"10.0.{number // 250}.{number % 250 + 1}", name, "Deployment", namespace="shop", pod=f"{name}-x")
            )
            number += 1
        peers.append(row)
    scene = Scene()
    seen: set[tuple[Peer, Peer]] = set()
    while len(seen) < edges:
        tier = rng.choices(range(3), [2, 4, 3])[0]
        source = rng.choice(peers[tier])
        below = min(3, tier + (2 if rng.random() < 0.15 else 1))
        destination = rng.choice(peers[below])
        if (source, destination) in seen:
            continue
        seen.add((source, destination))
        failing = rng.random() < 0.08
        protocol = rng.choices(["http", "dns", "tls", "NOSUPPORT"], [6, 1, 2, 2])[0]
        scene.add(
            10 ** rng.uniform(-0.5, 3),
            source,
            destination,
            8080,
            protocol=protocol,
            content="/",
            status=500 if failing else 200,
            error=failing,
            duration_ns=int(10 ** rng.uniform(5, 8.7)),
        )
    return scene
