# SPDX-License-Identifier: Apache-2.0
"""scope.exclude_namespaces and exclude_workloads below the agent: which cgroups are told to the engine, what it then counts,
and what it has the kernel send."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from analyzers._native import ffi, lib
from analyzers.resolver import NOT_READ_YET, Party
from analyzers.rows import Identity
from analyzers.scope import Scope
from analyzers.settings import CGROUPS_ASIDE, ConfigBlock, EngineSettings
from collector.aside import OwnersAside
from tests.events import SECOND, Conversation
from tests.inprocess import InProcessEngine
from tests.rows import FixedResolver, pod
from tests.unit.test_tracking_http import request, response

ASKING, ANSWERING = 17, 18  # cgroups
EXCLUDED = Scope(frozenset({"system"}))
WEB, DNS = pod("web", namespace="shop", observed=True), pod("dns", namespace="system", observed=True)


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def tell(engine: InProcessEngine, *cgroups: int) -> None:
    """As the agent does while the engine runs."""
    block = ConfigBlock(EngineSettings(cgroups_aside=cgroups))
    engine.config.cgroups_aside = block.pointer.cgroups_aside
    ffi.memmove(engine.config.cgroup_aside, block.pointer.cgroup_aside, 8 * lib.FS_CGROUPS_ASIDE)
    block.close()
    engine.config.generation += 1
    engine.tick(0)


def ends(far: bool = False) -> tuple[Conversation, Conversation]:
    """A client here and its server, here too or so far away that only its addresses count."""
    peer = ("203.0.113.9", 80) if far else ("127.0.0.1", 80)
    me = ("192.0.2.1", 41000) if far else ("127.0.0.1", 41000)
    client = Conversation(1, me, peer, "client", comm="curl", pid=11, cgroup_id=ASKING)
    server = Conversation(2, peer, me, "server", comm="nginx", pid=12, cgroup_id=ANSWERING)
    return client, server


def exchange(engine: InProcessEngine, conversation: Conversation, *seconds: int) -> None:
    for second in seconds:
        at = second * SECOND
        if conversation.role == "client":
            engine.feed([conversation.sends(at, request("/a")), conversation.receives(at + 3, response())])
        else:
            engine.feed([conversation.receives(at + 1, request("/a")), conversation.sends(at + 2, response())])


def both(engine: InProcessEngine, client: Conversation, server: Conversation, *seconds: int) -> None:
    for second in seconds:
        at = second * SECOND
        engine.feed([client.sends(at, request("/a")), server.receives(at + 1, request("/a")),
                     server.sends(at + 2, response()), client.receives(at + 3, response())])  # fmt: skip


def total(engine: InProcessEngine) -> int:
    return sum(row.count for row in engine.rows())


@pytest.mark.parametrize("role", ["client", "server"])
def test_an_owner_that_is_left_out_counts_nothing_and_the_kernel_sends_nothing(
    engine: InProcessEngine, role: str
) -> None:
    client, server = ends(far=True)
    tell(engine, ASKING, ANSWERING, 3)
    mine = client if role == "client" else server
    engine.feed([mine.open(0)])
    assert engine.mode(mine.conn_id) == "silent"
    exchange(engine, mine, 1, 2, 3)  # what was on its way
    engine.feed([mine.close(9 * SECOND)])
    assert engine.rows(with_empty=True) == []
    assert engine.tcp_rows() == []
    assert (engine.stat("requests"), engine.stat("requests_unwanted")) == (0, 3)


@pytest.mark.parametrize("aside", [ASKING, ANSWERING])
def test_whoever_is_not_left_out_is_counted_with_the_other_end_here(engine: InProcessEngine, aside: int) -> None:
    """The engine has one row for both; whose series it makes is for the agent to say, which knows both."""
    tell(engine, aside)
    client, server = ends()
    engine.feed([client.open(0), server.open(0)])
    both(engine, client, server, 1, 2, 3)
    assert total(engine) == 3
    assert engine.stat("requests_unwanted") == 0


def test_two_ends_that_are_both_left_out_count_nothing(engine: InProcessEngine) -> None:
    tell(engine, ASKING, ANSWERING)
    client, server = ends()
    engine.feed([client.open(0), server.open(0)])
    assert (engine.mode(1), engine.mode(2)) == ("silent", "silent")
    both(engine, client, server, 1, 2)
    assert engine.rows(with_empty=True) == []


def test_it_holds_for_what_is_open_and_ends_as_it_came(engine: InProcessEngine) -> None:
    client, _ = ends(far=True)
    engine.feed([client.open(0)])
    exchange(engine, client, 1, 2)
    assert total(engine) == 2
    tell(engine, ASKING)
    assert engine.mode(1) == "silent"
    exchange(engine, client, 3, 4, 5)
    assert total(engine) == 2
    for _ in range(7):  # the kernel sends nothing of these
        client.sends(0, request("/a"))
        client.receives(0, response())
    tell(engine)
    assert engine.mode(1) == "stream"
    exchange(engine, client, 10, 11, 12, 13)
    assert total(engine) == 6
    assert sum(row.request_bytes for row in engine.rows()) == 6 * len(request("/a"))


def test_what_it_is_told_is_kept_over_a_crash(engine: InProcessEngine) -> None:
    tell(engine, ASKING)
    client, _ = ends(far=True)
    engine.feed([client.open(0)])
    engine.crash()
    engine.feed([client.open(1)])
    assert engine.mode(1) == "silent"


def test_more_cgroups_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match=f"at most {CGROUPS_ASIDE}"):
        ConfigBlock(EngineSettings(cgroups_aside=tuple(range(CGROUPS_ASIDE + 1))))


# --- which they are


def owner(index: int, cgroup: int = 0, generation: int = 1) -> Identity:
    return Identity(index, generation, 1, cgroup or 100 + index, 7, "x")


def told(aside: OwnersAside) -> list[int]:
    return list(aside.cgroups)


def test_the_cgroups_of_whoever_is_left_out_are_told() -> None:
    names = FixedResolver({1: WEB, 2: DNS, 3: DNS})
    aside = OwnersAside(names)
    everybody = [owner(1), owner(2), owner(3, cgroup=102)]
    assert not aside.turn(everybody, 0)
    aside.configure(EXCLUDED)
    assert aside.wanted
    assert aside.turn(everybody, 1)
    assert told(aside) == [102]
    assert not aside.turn(everybody, 2)
    assert not aside.turn([owner(1)], 3), "a container that is idle for a while is one that will go on"
    assert told(aside) == [102]
    aside.configure(Scope(excluded_workloads=frozenset({"shop/web"})))
    assert told(aside) == []
    assert aside.turn(everybody, 4)
    assert told(aside) == [101]
    aside.configure(Scope())
    assert (aside.wanted, told(aside)) == (False, [])


def test_one_that_has_no_name_yet_is_asked_about_again() -> None:
    names = FixedResolver({1: Party(reason=NOT_READ_YET)})
    aside = OwnersAside(names)
    aside.configure(EXCLUDED)
    assert not aside.turn([owner(1)], 0)
    names.owners[1] = DNS
    assert aside.turn([owner(1)], 1)
    assert told(aside) == [101]


def test_one_that_gets_another_name_is_asked_about_again_when_names_change() -> None:
    names = FixedResolver({1: DNS})
    aside = OwnersAside(names)
    aside.configure(EXCLUDED)
    assert aside.turn([owner(1)], 0)
    names.owners[1] = WEB
    assert not aside.turn([owner(1)], 1)
    names.answers += 1
    assert aside.turn([owner(1)], 60)
    assert told(aside) == []


def test_those_who_are_there_come_first_when_there_is_no_room() -> None:
    names = FixedResolver(dict.fromkeys(range(1, 3 * CGROUPS_ASIDE), DNS))
    aside = OwnersAside(names)
    aside.configure(EXCLUDED)
    gone = [owner(number) for number in range(1, CGROUPS_ASIDE + 1)]
    here = [owner(number) for number in range(CGROUPS_ASIDE + 1, CGROUPS_ASIDE + 11)]
    aside.turn(gone, 0)
    aside.turn(here, 1)
    assert told(aside) == [one.cgroup_id for one in here]
    aside.turn([replace(one, index=one.index + 50) for one in gone] + here, 2)
    assert len(aside.cgroups) == CGROUPS_ASIDE
