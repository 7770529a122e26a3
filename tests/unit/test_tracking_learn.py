# SPDX-License-Identifier: Apache-2.0
"""`requests.url_clustering: learn`: levels of a path that have many names become one star, service by service."""

from collections.abc import Iterator

import pytest

from tests.events import SECOND, Conversation
from tests.inprocess import InProcessEngine

LEARN = 3
NAMES = 32  # FS_LEARN_NAMES
CLIENT, SERVER, OTHER = ("10.0.0.1", 40000), ("10.0.0.2", 80), ("10.0.0.3", 80)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def name(number: int) -> str:
    """Letters only, so that nothing but its number of brothers tells that it is a parameter."""
    return LETTERS[number // 676 % 26] + LETTERS[number // 26 % 26] + LETTERS[number % 26]


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine(url_clustering=LEARN, contents_per_workload=0, row_idle_ns=10 * SECOND) as made:
        yield made


class Service:
    def __init__(self, engine: InProcessEngine, number: int, address: tuple[str, int] = SERVER) -> None:
        self.engine = engine
        self.conversation = Conversation(number, address, CLIENT, "server", comm="nginx", pid=5)
        self.at = 0
        engine.feed([self.conversation.open(0)])

    def ask(self, *paths: str, at: int = 0) -> None:
        self.at = max(self.at, at)
        events = []
        for path in paths:
            self.at += 10
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            events += [self.conversation.receives(self.at, head), self.conversation.sends(self.at + 1, OK)]
        self.engine.feed(events)


def paths(engine: InProcessEngine) -> dict[str, int]:
    return {row.request: row.count for row in engine.rows() if row.count}


def test_few_names_stay(engine: InProcessEngine) -> None:
    asked = [f"/shop/{name(i)}" for i in range(NAMES)]
    Service(engine, 1).ask(*asked, *asked)
    assert paths(engine) == dict.fromkeys(asked, 2)


def test_one_name_more_makes_a_star_of_the_level(engine: InProcessEngine) -> None:
    shop = Service(engine, 1)
    asked = [f"/user/{name(i)}/cart" for i in range(NAMES + 1)]
    shop.ask(*asked)
    assert paths(engine) == dict.fromkeys(asked[:NAMES], 1) | {"/user/*/cart": 1}
    shop.ask(*asked, "/help")
    assert paths(engine) == dict.fromkeys(asked[:NAMES], 1) | {"/user/*/cart": NAMES + 2, "/help": 1}


def test_below_a_star_names_are_learnt_anew(engine: InProcessEngine) -> None:
    shop = Service(engine, 1)
    shop.ask(*[f"/user/{name(i)}" for i in range(NAMES + 1)])
    shop.ask(*[f"/user/mary/{name(i)}" for i in range(NAMES)])
    found = paths(engine)
    assert found["/user/*"] == 1
    assert all(found[f"/user/*/{name(i)}"] == 1 for i in range(NAMES))
    shop.ask(*[f"/user/john/{name(i)}" for i in range(NAMES + 1)])
    found = paths(engine)
    assert found["/user/*/*"] == 1
    assert all(found[f"/user/*/{name(i)}"] == 2 for i in range(NAMES))


def test_stars_of_the_alphabet_do_not_count_as_names(engine: InProcessEngine) -> None:
    shop = Service(engine, 1)
    shop.ask(*[f"/order/{i}" for i in range(100)], "/order/open")
    assert paths(engine) == {"/order/*": 100, "/order/open": 1}


def test_each_service_has_a_tree_of_its_own(engine: InProcessEngine) -> None:
    many, few = Service(engine, 1), Service(engine, 2, OTHER)
    many.ask(*[f"/{name(i)}" for i in range(NAMES + 1)])
    few.ask("/zz", "/zz")
    assert paths(engine)["/zz"] == 2
    assert paths(engine)["/*"] == 1


def test_deep_paths_end_in_a_star(engine: InProcessEngine) -> None:
    Service(engine, 1).ask("/a" * 12, "/a" * 13, "/a" * 40)
    assert paths(engine) == {"/a" * 12: 1, "/a" * 12 + "/*": 2}


@pytest.mark.parametrize("path", ["/", "//", "/a/", "//a//b/", "/*", "/*/a"])
def test_slashes_stay_where_they_are(engine: InProcessEngine, path: str) -> None:
    Service(engine, 1).ask(path, path)
    assert paths(engine) == {path: 2}


def test_more_names_than_there_is_room_for_stay_few(engine: InProcessEngine) -> None:
    """What is not known yet is a star, and every request is counted."""
    shop = Service(engine, 1)
    asked = [f"/{name(i % 30)}/{name(i % 900)}/{name(i)}" for i in range(17000)]
    shop.ask(*asked)
    found = paths(engine)
    assert sum(found.values()) == len(asked)
    before = len(found)
    shop.ask(*asked)
    assert len(paths(engine)) - before <= 30 + 30 * NAMES


def test_an_idle_service_makes_room(engine: InProcessEngine) -> None:
    """17 services that fill the tree; long after, one that is new finds room for its names."""
    for number in range(17):
        address = (f"10.0.1.{number}", 80)
        asked = [f"/{name(i)}/{name(j)}" for i in range(NAMES) for j in range(NAMES)]
        Service(engine, 10 + number, address).ask(*asked)
    engine.tick(SECOND)
    late = Service(engine, 99, OTHER)
    late.ask("/before/all", at=2 * SECOND)
    assert paths(engine)["/*/*"] >= 1  # the tree is full
    engine.tick(30 * SECOND)
    late.ask("/after/all", at=31 * SECOND)
    engine.tick(33 * SECOND)
    late.ask("/after/all", at=34 * SECOND)
    assert paths(engine)["/after/all"] >= 1
