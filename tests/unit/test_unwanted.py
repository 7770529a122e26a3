# SPDX-License-Identifier: Apache-2.0
"""scope.exclude_paths, exclude_protocols and exclude_comms where they take effect first: in the engine and, by the mode
slots, in the kernel."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers._native import ffi
from analyzers.settings import ConfigBlock, EngineSettings
from tests.events import SECOND, Conversation
from tests.inprocess import InProcessEngine, _text
from tests.multiplexed import calls_of
from tests.parsing import Clustering, Flag, Framed, Options, Parser, Protocol, Side
from tests.unit.test_http2 import Peers, get
from tests.unit.test_tracking_http import client, request, response, server

REDIS = (b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", b"$1\r\nb\r\n")


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    with InProcessEngine() as made:
        yield made


def leave_out(engine: InProcessEngine, **wanted: Any) -> None:
    """As the agent does while the engine runs."""
    block = ConfigBlock(EngineSettings(**wanted))
    engine.config.protocols_unwanted = block.pointer.protocols_unwanted
    for field in ("unwanted_comm", "unwanted_paths"):
        target = ffi.addressof(engine.config, field)
        ffi.memmove(target, ffi.addressof(block.pointer, field), ffi.sizeof(ffi.typeof(target).item))
    block.close()
    engine.config.generation += 1
    engine.tick(0)


def ask(engine: InProcessEngine, conversation: Conversation, paths: list[str], start: int = 1) -> None:
    for number, path in enumerate(paths, start):
        at = number * SECOND
        if conversation.role == "server":
            engine.feed([conversation.receives(at, request(path)), conversation.sends(at + 1, response())])
        else:
            engine.feed([conversation.sends(at, request(path)), conversation.receives(at + 1, response())])


def counted(engine: InProcessEngine) -> dict[str, int]:
    return {row.request: row.count for row in engine.rows()}


def test_paths_are_left_out_before_they_are_clustered(engine: InProcessEngine) -> None:
    leave_out(engine, unwanted_paths=("/healthz", "/static/*", "/a/7"))
    c = server()
    engine.feed([c.open(0)])
    asked = ["/healthz", "/healthz?full=1", "/healthzz", "/static/", "/static/x/1.css", "/stat", "/a/7", "/a/8",
             "http://h:80/healthz", "/b"]  # fmt: skip
    ask(engine, c, asked)
    assert counted(engine) == {"/healthzz": 1, "/stat": 1, "/a/*": 1, "/b": 1}
    assert engine.stat("requests_unwanted") == 6
    assert engine.stat("requests") == 4
    assert sum(row.request_bytes for row in engine.rows()) == sum(
        len(request(path)) for path in ("/healthzz", "/stat", "/a/8", "/b")
    )
    assert {_text(sample.request_content) for sample in engine.samples()} <= set(counted(engine))


def test_what_is_left_out_changes_while_it_runs(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0)])
    ask(engine, c, ["/a"] * 5)
    leave_out(engine, unwanted_paths=("/a",))
    ask(engine, c, ["/a"] * 5, 10)  # the very bytes that were parsed before
    assert counted(engine) == {"/a": 5}
    leave_out(engine)
    ask(engine, c, ["/a"] * 5, 20)
    assert counted(engine) == {"/a": 10}
    assert engine.stat("requests_unwanted") == 5


def test_a_path_whose_end_was_not_captured_matches_by_its_beginning_only(engine: InProcessEngine) -> None:
    parser = Parser(Protocol.HTTP, Side.REQUEST, Options(unwanted=("/aaa", "/b*", "/c")))
    for line, unwanted in ((b"GET /aaa", False), (b"GET /bcd", True), (b"GET /c?x", True)):
        answer, message = parser.frame(line, truncated=True)
        assert answer is Framed.MESSAGE
        assert bool(message.flags & Flag.UNWANTED) is unwanted


def test_paths_of_http2_and_methods_of_grpc() -> None:
    peers = Peers()
    for stream, path in ((1, "/healthz?x"), (3, "/grpc.health.v1.Health/Check"), (5, "/shop/1")):
        peers.head("client", stream, get(path), end=True)
        peers.head("server", stream, [(":status", "200")], end=True)
    options = Options(Clustering.ALPHABET, unwanted=("/healthz", "/grpc.health.v1.Health/*"))
    flags = [bool(call.request.flags & Flag.UNWANTED) for call in calls_of(Protocol.HTTP2, peers.chunks, options)]
    assert flags == [True, True, False]


def test_a_protocol_is_not_counted_and_the_kernel_sends_no_more_of_it(engine: InProcessEngine) -> None:
    leave_out(engine, protocols_unwanted=frozenset({"redis"}))
    c, other = client(7), client(8)
    engine.feed([c.open(0), other.open(0)])
    for second in range(1, 4):
        engine.feed([c.sends(second * SECOND, REDIS[0]), c.receives(second * SECOND + 1, REDIS[1])])
    ask(engine, other, ["/a", "/a"])
    assert (engine.mode(7), engine.mode(8)) == ("silent", None)
    assert counted(engine) == {"/a": 2}
    assert engine.stat("requests_unwanted") == 3  # what was on its way
    engine.feed([c.close(9 * SECOND)])
    assert counted(engine) == {"/a": 2}


@pytest.mark.parametrize("comm", ["curl", "nginx"])
def test_a_command_is_left_out_at_either_end(engine: InProcessEngine, comm: str) -> None:
    leave_out(engine, unwanted_comms=(comm,))
    asking, answering = client(1), server(2)
    engine.feed([asking.open(0), answering.open(0)])
    for second in range(1, 4):
        at = second * SECOND
        engine.feed([asking.sends(at, request()), answering.receives(at + 1, request()),
                     answering.sends(at + 2, response()), asking.receives(at + 3, response())])  # fmt: skip
    engine.tick(20 * SECOND)
    assert engine.mode(1 if comm == "curl" else 2) == "silent"
    assert engine.rows(with_empty=True) == []
    assert engine.stat("requests") == 0


def test_commands_are_compared_again_when_the_settings_change(engine: InProcessEngine) -> None:
    c = server()
    engine.feed([c.open(0)])
    ask(engine, c, ["/a"])
    leave_out(engine, unwanted_comms=("nginx",))
    ask(engine, c, ["/a"], 5)
    leave_out(engine, unwanted_comms=("ngin",))
    ask(engine, c, ["/a"], 9)
    assert counted(engine) == {"/a": 2}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"unwanted_paths": ("/" + "a" * 200,)}, "at most 126 bytes"),
        ({"unwanted_paths": ("/a",) * 33}, "33 values, at most 32"),
        ({"unwanted_comms": ("a" * 16,)}, "at most 15 bytes"),
        ({"unwanted_comms": ("a",) * 65}, "65 values, at most 64"),
        ({"protocols_unwanted": frozenset({"ftp"})}, "no protocol 'ftp'"),
    ],
)
def test_what_finds_no_room_is_refused(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ConfigBlock(EngineSettings(**wanted))


def test_a_request_that_is_left_out_is_answered_like_any_other(engine: InProcessEngine) -> None:
    leave_out(engine, unwanted_paths=("/a",))
    asking, answering = client(1), server(2)
    engine.feed([asking.open(0), answering.open(0)])
    for second in range(1, 6):
        at = second * SECOND
        engine.feed([asking.sends(at, request()), answering.receives(at + 1, request()),
                     answering.sends(at + 2, response()), asking.receives(at + 3, response())])  # fmt: skip
    engine.tick(20 * SECOND)
    told = {name: count for name, count in engine.stats().items() if name not in {"connections_opened", "both_ends"}}
    assert told == {"requests_unwanted": 5}


PIECES = st.lists(st.sampled_from(["/", "a", "b", "ab", "?", "#", "*", "healthz", "."]), max_size=6).map("".join)


@given(st.lists(PIECES.map(lambda text: "/" + text.replace("?", "").replace("#", "")), max_size=4), PIECES)
def test_paths_are_compared_as_the_documentation_says(rules: list[str], rest: str) -> None:
    target = "/" + rest
    path = target.partition("?")[0].partition("#")[0]
    wanted = any(path.startswith(rule[:-1]) if rule.endswith("*") else path == rule for rule in rules)
    parser = Parser(Protocol.HTTP, Side.REQUEST, Options(unwanted=tuple(rules)))
    answer, message = parser.frame(f"GET {target} HTTP/1.1\r\n\r\n".encode())
    assert answer is Framed.MESSAGE
    assert bool(message.flags & Flag.UNWANTED) is wanted
