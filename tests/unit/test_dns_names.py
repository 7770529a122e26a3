# SPDX-License-Identifier: Apache-2.0
"""Names of addresses out of DNS answers: parsed, kept by network namespace, given to outside addresses."""

import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers._native import lib
from analyzers.rows import Domain
from collector.metadata.addresses import HostAddresses
from collector.metadata.cgroups import Cgroups
from collector.metadata.cluster import ClusterIndex
from collector.metadata.cluster_names import ClusterNames
from collector.metadata.dns_names import GRACE_NS, NAMES_TOLD, DnsNames
from collector.metadata.host import HostResolver
from collector.metadata.kube_objects import ServiceRecord
from collector.metadata.processes import Processes
from tests.events import IN, OUT, SECOND, Conversation, datagram
from tests.inprocess import InProcessEngine

A, CNAME, AAAA = 1, 5, 28
POD, DNS = ("10.1.0.5", 40000), ("10.96.0.10", 53)
API, API6 = "192.0.2.55", "2001:db8::55"


def name_bytes(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + bytes(1)


def record(kind: int, ttl: int, data: bytes, owner: bytes = b"\xc0\x0c", dns_class: int = 1) -> bytes:
    return owner + struct.pack("!HHIH", kind, dns_class, ttl, len(data)) + data


def address(ip: str, ttl: int = 60, owner: bytes = b"\xc0\x0c", dns_class: int = 1) -> bytes:
    packed = ip_address(ip).packed
    return record(A if len(packed) == 4 else AAAA, ttl, packed, owner, dns_class)


def message(name: str, *answers: bytes, kind: int = A, number: int = 7, rcode: int = 0) -> bytes:
    head = struct.pack("!6H", number, 0x8180 | rcode, 1, len(answers), 0, 0)
    return head + name_bytes(name) + struct.pack("!HH", kind, 1) + b"".join(answers)


def question(name: str, kind: int = A, number: int = 7) -> bytes:
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + name_bytes(name) + struct.pack("!HH", kind, 1)


def ask(engine: InProcessEngine, name: str, answer: bytes, *, at: int = 10, netns: int = 11, kind: int = A) -> None:
    engine.feed(
        [
            datagram(at, netns, OUT, POD, DNS, question(name, kind), netns=netns, pid=5),
            datagram(at + 1, netns, IN, POD, DNS, answer, netns=netns, pid=5),
        ]
    )


def known(engine: InProcessEngine) -> set[tuple[int, str, str]]:
    found = set()
    for domain in engine.table.domains:
        if domain.generation:
            packed = bytes(domain.address)
            ip = ip_address(packed[12:] if packed[:12] == bytes(10) + b"\xff\xff" else packed)
            found.add((domain.netns, str(ip), b"".join(domain.text[0 : domain.length]).decode()))
    return found


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def test_addresses_of_an_answer_have_the_name_that_was_asked_for(engine: InProcessEngine) -> None:
    ask(engine, "API.example.com", message("API.example.com", address(API), address("192.0.2.56")))
    assert known(engine) == {(11, API, "api.example.com"), (11, "192.0.2.56", "api.example.com")}


def test_an_alias_does_not_change_the_name(engine: InProcessEngine) -> None:
    target = name_bytes("edge.cdn.example.net")
    ask(engine, "www.example.com", message("www.example.com", record(CNAME, 5, target), address(API, owner=target)))
    assert known(engine) == {(11, API, "www.example.com")}


def test_what_is_asked_through_an_external_name_is_outside_under_the_services_name(
    engine: InProcessEngine, tmp_path: Path
) -> None:
    """A Service of type ExternalName is an alias in the cluster's DNS and has no address of its own."""
    asked, target = "billing.shop.svc.cluster.local", name_bytes("api.example.com")
    ask(engine, asked, message(asked, record(CNAME, 5, target), address(API, owner=target)))
    domains = DnsNames()
    domains.learn(lambda _newest: [Domain(1, netns, ip, name, SECOND) for netns, ip, name in known(engine)], 20)
    index = ClusterIndex(0, lambda: 0)
    index.put_service(ServiceRecord("shop", "billing", (), (443,)))
    names = HostResolver(HostAddresses(tmp_path), node="n1", cluster=ClusterNames(index), domains=domains)
    party = names.remote(API, 443, 11)
    assert (party.outside, party.domain, party.service, party.workload_kind) == (True, asked, "", "")


def test_ipv6(engine: InProcessEngine) -> None:
    ask(engine, "six.example.com", message("six.example.com", address(API6), kind=AAAA), kind=AAAA)
    assert known(engine) == {(11, API6, "six.example.com")}


def test_over_tcp(engine: InProcessEngine) -> None:
    c = Conversation(3, POD, DNS, "client", comm="curl", pid=5, netns=11)
    asked, said = question("tcp.example.com"), message("tcp.example.com", address(API))
    frames = [struct.pack("!H", len(part)) + part for part in (asked, said)]
    engine.feed([c.open(1), c.sends(2, frames[0]), c.receives(3, frames[1])])
    assert known(engine) == {(11, API, "tcp.example.com")}


@pytest.mark.parametrize(
    "answer",
    [
        message("a.example.com", rcode=3),
        message("a.example.com", address(API), rcode=2),
        message("a.example.com", record(A, 60, b"12345")),
        message("a.example.com", address(API, dns_class=3)),
        message("a.example.com", record(16, 60, b"\x03txt")),
    ],
    ids=["nxdomain", "servfail", "bad-length", "chaos", "txt"],
)
def test_what_tells_no_address(engine: InProcessEngine, answer: bytes) -> None:
    ask(engine, "a.example.com", answer)
    assert known(engine) == set()


def test_who_answers_learns_nothing(engine: InProcessEngine) -> None:
    """A DNS server on this node: its clients' names are not its own."""
    engine.feed(
        [
            datagram(10, 1, IN, DNS, POD, question("a.example.com"), netns=12, pid=6, role="server"),
            datagram(11, 1, OUT, DNS, POD, message("a.example.com", address(API)), netns=12, pid=6, role="server"),
        ]
    )
    assert known(engine) == set()


def test_each_network_namespace_has_its_own(engine: InProcessEngine) -> None:
    ask(engine, "a.example.com", message("a.example.com", address(API)))
    ask(engine, "b.example.com", message("b.example.com", address(API)), netns=12)
    assert known(engine) == {(11, API, "a.example.com"), (12, API, "b.example.com")}


def test_the_newest_name_stands(engine: InProcessEngine) -> None:
    ask(engine, "a.example.com", message("a.example.com", address(API)))
    ask(engine, "b.example.com", message("b.example.com", address(API)), at=20)
    assert known(engine) == {(11, API, "b.example.com")}


def test_an_answer_is_told_again_only_when_it_had_expired(engine: InProcessEngine) -> None:
    for at in (0, 30 * SECOND, 59 * SECOND):
        ask(engine, "a.example.com", message("a.example.com", address(API, 60)), at=at + 10)
    assert engine.stat("domains_learned") == 1
    ask(engine, "a.example.com", message("a.example.com", address(API, 60)), at=200 * SECOND)
    assert engine.stat("domains_learned") == 2


def test_more_names_than_there_is_room_for(engine: InProcessEngine) -> None:
    for number in range(lib.FS_DOMAINS + 5):
        name = f"n{number}.example.com"
        ip = f"198.51.{number >> 8 & 255}.{number & 255}"
        ask(engine, name, message(name, address(ip)), at=10 * (number + 1))
    found = known(engine)
    assert len(found) == lib.FS_DOMAINS - 1
    assert (11, "198.51.0.0", "n0.example.com") not in found
    assert (11, "198.51.16.4", "n4100.example.com") in found


def test_names_outlive_the_engine(engine: InProcessEngine) -> None:
    ask(engine, "a.example.com", message("a.example.com", address(API)))
    engine.crash()
    ask(engine, "a.example.com", message("a.example.com", address(API)), at=20)
    assert engine.stat("domains_learned") == 1


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_answer_does_no_harm(data: st.DataObject) -> None:
    whole = bytearray(message("a.example.com", address(API), address(API6)))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with InProcessEngine() as engine:
        ask(engine, "a.example.com", bytes(whole[: data.draw(st.integers(0, len(whole)))]))
        assert engine.stat("domains_learned") <= 2


# --- names to addresses -----------------------------------------------------------------------------------------------


def told(*domains: Domain) -> Callable[[int], list[Domain]]:
    return lambda after: [domain for domain in domains if domain.generation > after]


def test_an_outside_address_has_the_name_of_its_namespace_only(tmp_path: Path) -> None:
    names = DnsNames()
    resolver = HostResolver(HostAddresses(), Processes(tmp_path, Cgroups(tmp_path)), node="n", domains=names)
    before = resolver.version()
    assert resolver.remote(API, 443, 11).domain == ""
    names.learn(told(Domain(1, 11, API, "api.example.com", 60 * SECOND)), SECOND)
    assert resolver.version() == before + 1
    assert resolver.remote(API, 443, 11).domain == "api.example.com"
    assert resolver.remote(API, 443, 12).domain == ""
    assert resolver.explained(API, 443, 11)[-1] == "it was asked for by the name api.example.com"


def test_a_name_that_nobody_asked_about_makes_nothing_outdated() -> None:
    names = DnsNames()
    names.learn(told(Domain(1, 11, API, "api.example.com", 60 * SECOND)), SECOND)
    assert names.version == 0
    assert names.name(API, 11) == "api.example.com"
    names.learn(told(Domain(2, 11, API, "api.example.com", 90 * SECOND)), 61 * SECOND)
    assert names.version == 0
    names.learn(told(Domain(3, 11, API, "new.example.com", 90 * SECOND)), 62 * SECOND)
    assert (names.version, names.name(API, 11)) == (1, "new.example.com")


def test_a_name_ends_an_hour_after_its_time() -> None:
    names = DnsNames()
    names.learn(told(Domain(1, 11, API, "api.example.com", 60 * SECOND)), 60 * SECOND + GRACE_NS - 1)
    assert names.name(API, 11) == "api.example.com"
    names.learn(told(), 60 * SECOND + GRACE_NS)
    assert names.name(API, 11) == ""


def test_of_an_address_that_sites_share_the_last_names_are_told(tmp_path: Path) -> None:
    names = DnsNames(limit=2)
    resolver = HostResolver(HostAddresses(), Processes(tmp_path, Cgroups(tmp_path)), node="n", domains=names)
    asked = ["a.example.com", "b.example.com", "a.example.com", *(f"n{n}.example.com" for n in range(NAMES_TOLD - 1))]
    names.learn(told(*(Domain(n + 1, 11, API, name, SECOND) for n, name in enumerate(asked[:3]))), 0)
    assert resolver.explained(API, 443, 11)[-3:] == [
        "it was asked for by the name b.example.com",
        "it was asked for by the name a.example.com",
        "all its requests are counted under the name that their network namespace asked for last",
    ]
    names.learn(told(*(Domain(n + 1, 12, API, name, SECOND) for n, name in enumerate(asked))), 0)
    assert names.told(API) == asked[-NAMES_TOLD:]
    assert names.name(API, 11) == "a.example.com"
    names.learn(told(*(Domain(100 + n, 11, f"192.0.2.{n}", f"n{n}", SECOND) for n in (1, 2))), 0)
    assert names.told(API) == []


def test_names_are_bounded() -> None:
    names = DnsNames(limit=2)
    names.learn(told(*(Domain(n, 11, f"192.0.2.{n}", f"n{n}", SECOND) for n in (1, 2, 3))), 0)
    assert [names.name(f"192.0.2.{n}", 11) for n in (1, 2, 3)] == ["", "n2", "n3"]
