# SPDX-License-Identifier: Apache-2.0
"""Where connection tracking cannot be read: it is said why, what helps, and on the page; nothing else is lost."""

import errno
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from collector import problems
from collector.metadata import conntrack
from collector.metadata.conntrack import Conntrack
from exporters.own import OwnMetrics, OwnState
from tests.unit.test_own import series


class Netlink:
    """What the kernel answers: `fails` names the call that is refused, `answer` is what the first read finds."""

    fails: str = ""
    number = 0
    answer: bytes | None = None
    closed = False
    bound: tuple[int, int] | None = None
    sent = b""
    made: "Netlink"

    def __init__(self, family: int, _kind: int, protocol: int) -> None:
        assert (family, protocol) == (socket.AF_NETLINK, 12)
        Netlink.made = self
        self._may("socket")

    def _may(self, call: str) -> None:
        if call == self.fails:
            raise OSError(self.number, "refused")

    def setsockopt(self, *_option: int) -> None:
        self._may("setsockopt")

    def bind(self, address: tuple[int, int]) -> None:
        self._may("bind")
        self.bound = address

    def send(self, message: bytes) -> None:
        self._may("send")
        self.sent = message

    def recv(self, _size: int, flags: int) -> bytes:
        assert flags == socket.MSG_PEEK
        if self.answer is None:
            raise BlockingIOError
        return self.answer

    def fileno(self) -> int:
        return 99

    def close(self) -> None:
        self.closed = True


Listen = Callable[..., Conntrack]


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Listen:
    def listened(fails: str = "", number: int = 0, answer: bytes | None = None) -> Conntrack:
        found = type("Found", (Netlink,), {"fails": fails, "number": number, "answer": answer})
        with monkeypatch.context() as patched:
            patched.setattr("collector.metadata.conntrack.socket.socket", found)
            return conntrack.listen()

    return listened


def error(number: int) -> bytes:
    """struct nlmsgerr behind its nlmsghdr."""
    return struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -number) + bytes(16)


@pytest.mark.parametrize("answer", [None, error(0), struct.pack("=IHHIIi", 200, 256, 2, 1, 0, 7)])
def test_it_joins_and_asks_for_the_table(listen: Listen, answer: bytes | None) -> None:
    found = listen(answer=answer)
    assert (found.fd, found.reason, found.is_read) == (99, "", True)
    assert (Netlink.made.bound, Netlink.made.closed) == ((0, 1), False)
    assert struct.unpack_from("=IHH", Netlink.made.sent) == (20, 0x101, 0x301)
    found.close()
    assert Netlink.made.closed


def test_a_small_buffer_is_better_than_none(listen: Listen) -> None:
    assert listen("setsockopt", errno.EPERM).fd == 99


@pytest.mark.parametrize(
    ("fails", "number", "answer", "reason", "remedy"),
    [
        ("socket", errno.EPROTONOSUPPORT, None, "this kernel has no nfnetlink", "load the module nf_conntrack_netlink"),
        ("bind", errno.EPERM, None, "it takes CAP_NET_ADMIN", "give the agent CAP_NET_ADMIN"),
        ("send", errno.ENOBUFS, None, "No buffer space available",
         "load the modules nf_conntrack and nf_conntrack_netlink, or report this"),
        ("", 0, error(errno.EINVAL), "Invalid argument",
         "load the modules nf_conntrack and nf_conntrack_netlink, or report this"),
        ("", 0, error(errno.EPERM), "it takes CAP_NET_ADMIN", "give the agent CAP_NET_ADMIN"),
    ],
)  # fmt: skip
def test_a_kernel_that_refuses_is_told_with_a_remedy(
    listen: Listen, fails: str, number: int, answer: bytes | None, reason: str, remedy: str
) -> None:
    found = listen(fails, number, answer)
    assert (found.socket, found.fd, found.reason, found.remedy) == (None, None, reason, remedy)
    assert found.is_read is False
    assert Netlink.made.closed == (fails != "socket")
    found.close()


def test_the_status_says_what_is_not_known_for_it() -> None:
    (problem,) = problems.of_translations(Conntrack(None, "it takes CAP_NET_ADMIN", "give it"), 0)
    assert (problem.severity, problem.cause) == ("warning", "it takes CAP_NET_ADMIN")
    assert "behind a Service, the pod that answered is not known" in problem.what
    assert problem.remedy.startswith("give it; network plugins that translate in eBPF")
    (problem,) = problems.of_translations(Conntrack(None), 7)
    assert "7 times" in problem.what
    assert list(problems.of_translations(Conntrack(None), 0)) == []


@pytest.fixture
def own() -> Iterator[OwnMetrics]:
    made = OwnMetrics()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("found", "expected"), [(Conntrack(None, "no", "x"), {(): 0.0}), (Conntrack(None), {})], ids=["refused", "unwanted"]
)
def test_the_page_says_whether_it_is_read(
    own: OwnMetrics, found: Conntrack, expected: dict[tuple[str, ...], float]
) -> None:
    page = own.render(OwnState("1", conntrack=found.is_read))
    assert series(page, "firesteel_conntrack_up") == expected
