# SPDX-License-Identifier: Apache-2.0
"""Names without a cluster, against a /proc made for the test; then once against this machine's own."""

import os
import socket
from pathlib import Path

import pytest

from analyzers.resolver import Party, Resolver
from analyzers.rows import Identity
from collector.metadata.addresses import KEPT_REFRESHES, HostAddresses
from collector.metadata.cgroups import WALK_PAUSE_S, Cgroups, default_hierarchy
from collector.metadata.containers import CgroupOwner
from collector.metadata.host import OUTSIDE, READS_PER_TURN, HostResolver
from collector.metadata.processes import Processes
from tests.rows import identity

CONTAINER = "5d6b1bf2a6d0f0e1c2b3a4958677869504132231405f6e7d8c9baab9c8d7e6f5"
TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 192.0.2.0
        /24 link UNICAST
     |-- 192.0.2.7
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
"""
IF_INET6 = "20010db8000000000000000000000007 02 40 00 80     eth0\n"


class Machine:
    """A /proc and a cgroup file system of files."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        (self.proc / "self" / "net").mkdir(parents=True)
        (self.proc / "self" / "ns").mkdir()
        (self.proc / "self" / "ns" / "net").touch()
        self.cgroups.mkdir()
        self.addresses("self", TRIE, IF_INET6)
        self.now = 0.0

    def process(self, pid: int, comm: str, cgroup: str, started: int = 5) -> None:
        directory = self.proc / str(pid)
        directory.mkdir(exist_ok=True)
        (directory / "stat").write_text(f"{pid} ({comm}) S " + "0 " * 18 + f"{started} 0 0\n")
        (directory / "cgroup").write_text(f"0::{cgroup}\n")

    def addresses(self, process: str, trie: str, if_inet6: str = "") -> None:
        net = self.proc / process / "net"
        net.mkdir(parents=True, exist_ok=True)
        (net / "fib_trie").write_text(trie)
        (net / "if_inet6").write_text(if_inet6)

    def cgroup(self, path: str) -> int:
        directory = self.cgroups / path.lstrip("/")
        directory.mkdir(parents=True)
        return directory.stat().st_ino

    def processes(self) -> Processes:
        return Processes(self.proc, Cgroups(self.cgroups, lambda: self.now))

    def resolver(self) -> HostResolver:
        resolver = HostResolver(HostAddresses(self.proc), self.processes(), "host-1")
        resolver.refresh()
        return resolver


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def learned(resolver: HostResolver, who: Identity) -> Party:
    resolver.learn([who])
    return resolver.local(who, "192.0.2.7", 0)


def named(kind: str, name: str, container_id: str = "", reason: str = "") -> Party:
    return Party("host-1", "NOT_FOUND_INTERNAL", kind, name, container_id=container_id, reason=reason, observed=True)


def test_a_unit_a_process_and_a_container(machine: Machine) -> None:
    machine.process(11, "nginx", "/system.slice/nginx.service")
    machine.process(12, "curl", "/user.slice/user-0.slice/session-1.scope")
    machine.process(13, "redis-server", f"/system.slice/docker-{CONTAINER}.scope")
    resolver: HostResolver = machine.resolver()
    protocol: Resolver = resolver
    assert protocol.version() == 2
    assert learned(resolver, identity(1, "nginx", pid=11)) == named("systemd", "nginx.service")
    assert learned(resolver, identity(2, "curl", pid=12)) == named("process", "curl")
    assert learned(resolver, identity(3, "redis-server", pid=13)) == named("process", "redis-server", "5d6b1bf2a6d0")


def test_nothing_is_read_outside_of_learn_and_a_first_answer_is_corrected(machine: Machine) -> None:
    machine.process(11, "nginx", "/system.slice/nginx.service")
    resolver, who = machine.resolver(), identity(1, "nginx", pid=11)
    assert resolver.local(who, "192.0.2.7", 80) == named("process", "nginx", reason="not_read_yet")
    version = resolver.version()
    assert resolver.unknown([who, None, who]) == [who]
    resolver.learn([who])
    assert resolver.version() == version + 1
    assert resolver.local(who, "192.0.2.7", 80) == named("systemd", "nginx.service")
    assert resolver.unknown([who]) == []
    resolver.learn([who])
    assert resolver.version() == version + 1


def test_a_process_that_is_gone_is_told_by_its_cgroup_and_else_by_its_command(machine: Machine) -> None:
    cgroup_id = machine.cgroup("/system.slice/batch.service")
    resolver = machine.resolver()
    assert learned(resolver, identity(1, "job", pid=99, cgroup_id=cgroup_id)) == named("systemd", "batch.service")
    machine.now = WALK_PAUSE_S[0]
    assert learned(resolver, identity(2, "job", pid=99, cgroup_id=1)) == named("process", "job", reason="process_gone")


def test_a_process_that_ends_is_back_in_the_root_and_still_has_its_owner(machine: Machine) -> None:
    machine.process(11, "job", "/")
    cgroup_id = machine.cgroup("/system.slice/batch.service")
    resolver = machine.resolver()
    assert learned(resolver, identity(1, "job", pid=11, cgroup_id=cgroup_id)) == named("systemd", "batch.service")
    # One that lives there, and one whose cgroup nobody can tell any more.
    root = machine.cgroups.stat().st_ino
    assert learned(resolver, identity(2, "job", pid=11, cgroup_id=root)) == named("process", "job")
    machine.now = WALK_PAUSE_S[0]
    assert learned(resolver, identity(3, "job", pid=11, cgroup_id=1)) == named("process", "job", reason="process_gone")


def test_a_process_that_ends_is_asked_about_again_when_a_pass_is_due(machine: Machine) -> None:
    machine.process(11, "job", "/")
    processes = machine.processes()
    assert (processes.owner(identity(1, "job", pid=11, cgroup_id=1)), processes.postponed) == (None, False)
    cgroup_id = machine.cgroup("/system.slice/batch.service")
    late = identity(2, "job", pid=11, cgroup_id=cgroup_id)
    assert (processes.owner(late), processes.postponed) == (None, True)
    machine.now = WALK_PAUSE_S[0]
    assert (processes.owner(late), processes.postponed) == (CgroupOwner(unit="batch.service"), False)


def test_a_process_number_that_was_used_again_is_not_believed(machine: Machine) -> None:
    machine.process(11, "other", "/system.slice/other.service")
    resolver = machine.resolver()
    assert learned(resolver, identity(1, "nginx", pid=11, cgroup_id=1)) == named(
        "process", "nginx", reason="process_gone"
    )
    # A changed name in the same cgroup is the same process.
    cgroup_id = machine.cgroup("/system.slice/other.service")
    assert learned(resolver, identity(2, "nginx", pid=11, cgroup_id=cgroup_id)) == named("systemd", "other.service")


def test_passes_over_the_cgroup_file_system_take_a_share_of_the_time(machine: Machine) -> None:
    processes = machine.processes()
    assert (processes.owner(identity(1, pid=99, cgroup_id=1)), processes.postponed) == (None, False)
    cgroup_id = machine.cgroup("/system.slice/late.service")
    late = identity(2, pid=99, cgroup_id=cgroup_id)
    assert (processes.owner(late), processes.postponed) == (None, True)
    machine.now = WALK_PAUSE_S[0]
    assert (processes.owner(late), processes.postponed) == (CgroupOwner(unit="late.service"), False)


def test_a_short_lived_process_of_a_new_cgroup_is_named_by_the_next_pass(machine: Machine) -> None:
    resolver = machine.resolver()
    learned(resolver, identity(1, "job", pid=99, cgroup_id=1))
    late = identity(2, "job", pid=98, cgroup_id=machine.cgroup("/system.slice/late.service"))
    resolver.learn([late])
    assert resolver.unknown([late]) == [late]
    machine.now = WALK_PAUSE_S[0]
    assert learned(resolver, late) == named("systemd", "late.service")


def test_reads_of_one_turn_are_bounded(machine: Machine) -> None:
    resolver = machine.resolver()
    everyone = [identity(n, f"p{n}", pid=0, cgroup_id=0) for n in range(READS_PER_TURN + 5)]
    resolver.learn(everyone)
    assert len(resolver.unknown(everyone)) == 5


def test_of_an_identity_the_newest_generation_is_kept_and_no_other(machine: Machine) -> None:
    machine.process(11, "nginx", "/system.slice/nginx.service")
    machine.process(12, "redis", "/system.slice/redis.service")
    resolver = machine.resolver()
    first, second = identity(1, "nginx", pid=11), identity(1, "redis", pid=12, generation=2)
    assert learned(resolver, first) == named("systemd", "nginx.service")
    assert resolver.unknown([first, second]) == [second]
    assert resolver.local(second, "192.0.2.7", 0) == named("process", "redis", reason="not_read_yet")
    assert learned(resolver, second) == named("systemd", "redis.service")
    assert resolver.unknown([first, second]) == [first]


def test_an_event_without_a_process(machine: Machine) -> None:
    nobody = identity(0, "", pid=0, cgroup_id=0)
    expected = Party("host-1", "NOT_FOUND_INTERNAL", reason="no_process", observed=True)
    resolver = machine.resolver()
    assert resolver.local(nobody, "192.0.2.7", 0) == expected
    assert learned(resolver, nobody) == expected


def test_addresses_inside_and_outside(machine: Machine) -> None:
    resolver = machine.resolver()
    inside = Party("host-1", "NOT_FOUND_INTERNAL", reason="no_owner_seen", observed=True)
    for ip in ("192.0.2.7", "2001:db8::7", "127.0.0.1", "127.8.8.8", "::1"):
        assert resolver.remote(ip, 80, 100) == inside
    for ip in ("192.0.2.8", "192.0.2.255", "192.0.2.0", "2001:db8::8", "203.0.113.1", "fe80::1"):
        assert resolver.remote(ip, 80, 100) is OUTSIDE
    assert (OUTSIDE.namespace, OUTSIDE.outside, OUTSIDE.observed, OUTSIDE.node) == (
        "NOT_FOUND_EXTERNAL",
        True,
        False,
        "",
    )


def test_an_address_of_this_host_has_the_name_of_who_serves_at_it(machine: Machine) -> None:
    machine.process(11, "nginx", "/system.slice/nginx.service")
    resolver, who = machine.resolver(), identity(1, "nginx", pid=11, netns=100)
    resolver.learn([who])
    assert resolver.remote("192.0.2.7", 80, 200).reason == "no_owner_seen"
    version = resolver.version()
    resolver.local(who, "192.0.2.7", 80)
    assert resolver.version() == version + 1
    assert resolver.remote("192.0.2.7", 80, 200) == named("systemd", "nginx.service")
    assert resolver.remote("192.0.2.7", 81, 200).reason == "no_owner_seen"
    # Loopback is another place in each network namespace.
    resolver.local(who, "127.0.0.1", 80)
    assert resolver.remote("127.0.0.1", 80, 100) == named("systemd", "nginx.service")
    assert resolver.remote("127.0.0.1", 80, 200).reason == "no_owner_seen"
    # A client's end is nobody's in particular.
    assert resolver.remote("192.0.2.7", 0, 100).reason == "no_owner_seen"


def test_a_new_network_namespace_asks_for_its_addresses_once(machine: Machine) -> None:
    machine.process(50, "server", "/")
    machine.process(51, "server", "/")
    resolver = machine.resolver()
    resolver.learn([identity(1, "server", pid=50, netns=7)])
    assert resolver.has_new_namespaces
    resolver.refresh()
    resolver.learn([identity(2, "server", pid=51, netns=7)])
    assert not resolver.has_new_namespaces


def test_addresses_of_other_network_namespaces_are_found_by_their_processes(machine: Machine) -> None:
    machine.process(11, "redis", f"/docker/{CONTAINER}")
    machine.addresses("11", TRIE.replace("192.0.2.7", "172.17.0.2"))
    resolver = machine.resolver()
    assert resolver.remote("172.17.0.2", 6379, 100) is OUTSIDE
    resolver.learn([identity(1, "redis", pid=11, netns=300)])
    version = resolver.version()
    resolver.refresh()
    assert resolver.version() == version + 1
    assert resolver.remote("172.17.0.2", 6379, 100).namespace == "NOT_FOUND_INTERNAL"
    assert resolver.bound_address("198.51.100.1", 300) == "172.17.0.2"
    # It is kept for a while after the process has ended.
    (machine.proc / "11" / "net" / "fib_trie").unlink()
    (machine.proc / "11" / "net" / "if_inet6").unlink()
    for _ in range(KEPT_REFRESHES):
        resolver.refresh()
    assert resolver.remote("172.17.0.2", 6379, 100).namespace == "NOT_FOUND_INTERNAL"
    resolver.refresh()
    assert resolver.remote("172.17.0.2", 6379, 100) is OUTSIDE


@pytest.mark.parametrize(
    ("remote", "expected"),
    [("127.0.0.1", "127.0.0.1"), ("127.3.3.3", "127.0.0.1"), ("::1", "::1"), ("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7")],
)  # fmt: skip
def test_a_socket_bound_to_none_has_the_address_towards_its_peer(machine: Machine, remote: str, expected: str) -> None:
    assert machine.resolver().bound_address(remote, 100) == expected


@pytest.mark.parametrize("remote", ["", "::", "unknown", "203.0.113.9", "2001:db8:9::9"])
def test_the_address_is_never_empty(machine: Machine, remote: str) -> None:
    address = machine.resolver().bound_address(remote, 100)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert socket.inet_pton(family, address)


def test_where_the_cgroup_hierarchy_is(tmp_path: Path) -> None:
    assert default_hierarchy(tmp_path) == tmp_path / "memory"
    (tmp_path / "unified").mkdir()
    assert default_hierarchy(tmp_path) == tmp_path / "unified"
    (tmp_path / "cgroup.controllers").touch()
    assert default_hierarchy(tmp_path) == tmp_path


def test_this_machine() -> None:
    resolver = HostResolver()
    resolver.refresh()
    comm = Path("/proc/self/comm").read_text().strip()
    netns = Path("/proc/self/ns/net").stat().st_ino
    me = Identity(1, 1, netns, 0, os.getpid(), comm)
    resolver.learn([me])
    party = resolver.local(me, "127.0.0.1", 0)
    assert (party.node, party.namespace, party.reason) == (os.uname().nodename, "NOT_FOUND_INTERNAL", "")
    assert (party.workload_kind, bool(party.workload_name)) in {("systemd", True), ("process", True)}
    assert resolver.bound_address("127.0.0.1", netns) == "127.0.0.1"
    assert resolver.remote("192.0.2.254", 80, netns).namespace == "NOT_FOUND_EXTERNAL"
