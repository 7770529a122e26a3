# SPDX-License-Identifier: Apache-2.0
"""Things to do with memcached in both of its protocols, and what of them must be counted."""

from __future__ import annotations

import getpass
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from pymemcache.client.base import Client

from tests.servers import Server, _folder, free_port, program, running

# Request content, response content, status, whether it is an error: as in the recordings' `expected`.
Said = tuple[str, str, int, bool]
_STATUS = {
    "": (0, False),
    "OK": (0, False),
    "NOT_FOUND": (1, False),
    "EXISTS": (2, False),
    "NOT_STORED": (5, False),
    "TOO_LARGE": (3, True),
    "INVALID_ARGUMENTS": (4, True),
    "NON_NUMERIC": (6, True),
    "UNKNOWN_COMMAND": (0x81, True),
    "ERROR": (0x81, True),
    "CLIENT_ERROR": (4, True),
    "SERVER_ERROR": (0x84, True),
}
# A command, what the server says to it, and how both must be counted.
_LINES: Sequence[tuple[str, str, str, str]] = (
    ("version\r\n", "VERSION 1", "version", "OK"),
    ("get absent\r\n", "END\r\n", "get", "NOT_FOUND"),
    ("set fruit 5 0 5\r\napple\r\n", "STORED\r\n", "set", "OK"),
    ("get fruit\r\n", "VALUE fruit 5 5\r\napple\r\nEND\r\n", "get", "OK"),
    ("set END 0 0 12\r\nEND\r\nSTORED\r\r\n", "STORED\r\n", "set", "OK"),
    ("get END fruit absent\r\n", "VALUE END 0 12\r\nEND\r\nSTORED\r\r\nVALUE fruit 5", "get", "OK"),
    ("gets fruit\r\n", "VALUE fruit 5 5 ", "gets", "OK"),
    ("gat 100 fruit END\r\n", "VALUE fruit", "gat", "OK"),
    ("gats 100 absent\r\n", "END\r\n", "gats", "NOT_FOUND"),
    ("add fruit 0 0 1\r\nx\r\n", "NOT_STORED\r\n", "add", "NOT_STORED"),
    ("add number 0 -1 2\r\n17\r\n", "STORED\r\n", "add", "OK"),
    ("add number 0 0 2\r\n17\r\n", "STORED\r\n", "add", "OK"),
    ("replace absent 0 0 1\r\nx\r\n", "NOT_STORED\r\n", "replace", "NOT_STORED"),
    ("append fruit 0 0 4\r\n pie\r\n", "STORED\r\n", "append", "OK"),
    ("prepend fruit 0 0 3\r\nhot\r\n", "STORED\r\n", "prepend", "OK"),
    ("cas fruit 0 0 1 1\r\nx\r\n", "EXISTS\r\n", "cas", "EXISTS"),
    ("cas absent 0 0 1 1\r\nx\r\n", "NOT_FOUND\r\n", "cas", "NOT_FOUND"),
    ("incr number 5\r\n", "22\r\n", "incr", "OK"),
    ("decr number 20\r\n", "2", "decr", "OK"),
    ("incr fruit 1\r\n", "CLIENT_ERROR cannot", "incr", "CLIENT_ERROR"),
    ("incr absent 1\r\n", "NOT_FOUND\r\n", "incr", "NOT_FOUND"),
    ("touch number 0\r\n", "TOUCHED\r\n", "touch", "OK"),
    ("touch absent 0\r\n", "NOT_FOUND\r\n", "touch", "NOT_FOUND"),
    ("delete number\r\n", "DELETED\r\n", "delete", "OK"),
    ("delete number\r\n", "NOT_FOUND\r\n", "delete", "NOT_FOUND"),
    ("verbosity 0\r\n", "OK\r\n", "verbosity", "OK"),
    ("stats\r\n", "STAT pid", "stats", "OK"),
    ("stats items\r\n", "STAT items", "stats", "OK"),
    ("stats reset\r\n", "RESET\r\n", "stats", "OK"),
    ("launch rockets\r\n", "ERROR\r\n", "*", "ERROR"),
    ("get\r\n", "ERROR\r\n", "get", "ERROR"),
    ("set fruit 0 0 many\r\n", "CLIENT_ERROR bad", "set", "CLIENT_ERROR"),
    (f"get {'k' * 251}\r\n", "CLIENT_ERROR", "get", "CLIENT_ERROR"),
    ("mn\r\n", "MN\r\n", "mn", "OK"),
    ("ms fruit 5 T0\r\ngrape\r\n", "HD\r\n", "ms", "OK"),
    ("ms fruit 5 ME\r\ngrape\r\n", "NS\r\n", "ms", "NOT_STORED"),
    ("mg fruit v t\r\n", "VA 5 t", "mg", "OK"),
    ("mg fruit\r\n", "HD\r\n", "mg", "OK"),
    ("mg absent v\r\n", "EN\r\n", "mg", "NOT_FOUND"),
    ("ma absent\r\n", "NF\r\n", "ma", "NOT_FOUND"),
    ("ma counter N0 J5 v\r\n", "VA 1", "ma", "OK"),
    ("md counter\r\n", "HD\r\n", "md", "OK"),
    ("me fruit\r\n", "ME fruit", "me", "OK"),
    ("flush_all\r\n", "OK\r\n", "flush_all", "OK"),
)


def said(command: str, answer: str) -> Said:
    return command, answer, *_STATUS[answer]


@contextmanager
def memcached() -> Iterator[Server]:
    """memcached with items of at most 1 MiB, its default."""
    port = free_port()
    with _folder() as folder:
        command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", getpass.getuser()]
        with running("memcached", command, "127.0.0.1", port, folder) as server:
            yield server


def _read(connection: socket.socket, end: bytes) -> bytes:
    got = b""
    while not got.endswith(end):
        more = connection.recv(65536)
        assert more, got
        got += more
    return got


def commands(port: int) -> Counter[Said]:
    """Each kind of command of the text protocol, one after the other, and what is not answered."""
    done: Counter[Said] = Counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for line, answer, command, outcome in _LINES:
            connection.sendall(line.encode())
            ends_late = answer.startswith(("VALUE", "STAT"))
            got = _read(connection, b"END\r\n" if ends_late else b"\r\n").decode()
            if ends_late and line.startswith("get END"):
                while not got.endswith("hotapple pie\r\nEND\r\n") and not got.endswith("apple\r\nEND\r\n"):
                    got += connection.recv(65536).decode()
            if answer.startswith("VA "):
                while got.count("\r\n") < 2:
                    got += connection.recv(65536).decode()
            assert got.startswith(answer), (line, got)
            done[said(command, outcome)] += 1
        silent = b"set a 0 0 1 noreply\r\nx\r\n" * 3 + b"incr a 1 noreply\r\ndelete a noreply\r\n"
        connection.sendall(silent + b"get a\r\n")
        assert _read(connection, b"\r\n") == b"END\r\n"
        done += Counter({said("set", ""): 3, said("incr", ""): 1, said("delete", ""): 1, said("get", "NOT_FOUND"): 1})
        connection.sendall(b"quit\r\n")
        assert connection.recv(1) == b""
        done[said("quit", "")] += 1
    return done


def pipelined(port: int, rounds: int = 1) -> Counter[Said]:
    """Sixteen commands in one write, of both kinds of answers."""
    one = b"".join(
        b"set k%d 0 0 3\r\nabc\r\nget k%d absent\r\nget absent\r\nincr k%d 1\r\n" % (i, i, i) for i in range(4)
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(rounds):
            connection.sendall(one + b"mn\r\n")
            _read(connection, b"MN\r\n")
    outcomes = (("set", "OK"), ("get", "OK"), ("get", "NOT_FOUND"), ("incr", "CLIENT_ERROR"))
    return Counter({said(*outcome): 4 * rounds for outcome in outcomes}) + Counter({said("mn", "OK"): rounds})


def quiet_meta(port: int, rounds: int = 1) -> Counter[Said]:
    """Meta commands that are only answered if there is something to say, told apart by opaque value, key or order."""
    lines = (
        ("ms a 1 T0\r\nx\r\n", "ms", "OK"),
        ("ms b 1 q\r\nx\r\n", "ms", ""),
        ("mg a v q k O1\r\n", "mg", "OK"),
        ("mg absent v q O2\r\n", "mg", "NOT_FOUND"),
        ("mg b v q O3\r\n", "mg", "OK"),
        ("mg absent v q k\r\n", "mg", "NOT_FOUND"),
        ("mg b k q v\r\n", "mg", "OK"),
        ("ms a 1 q ME O4\r\ny\r\n", "ms", "NOT_STORED"),
        ("md absent q\r\n", "md", "NOT_FOUND"),
        ("mg a\r\n", "mg", "OK"),
        ("md b q\r\n", "md", ""),
        ("mg b q v\r\n", "mg", "NOT_FOUND"),
        ("mn\r\n", "mn", "OK"),
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(rounds):
            connection.sendall("".join(line for line, _, _ in lines).encode())
            _read(connection, b"MN\r\n")
    done: Counter[Said] = Counter()
    for _, command, outcome in lines:
        done[said(command, outcome)] += rounds
    return done


def packet(
    opcode: int, key: bytes = b"", value: bytes = b"", *, extras: bytes = b"", opaque: int = 0, cas: int = 0
) -> bytes:
    """A request of the binary protocol."""
    body = extras + key + value
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, len(body), opaque, cas) + body


def _packets(connection: socket.socket, last: int) -> list[tuple[int, int]]:
    """Opcode and status of what comes, until something of opcode `last` does (of statistics, their end)."""
    got: list[tuple[int, int]] = []
    with connection.makefile("rb") as stream:
        while True:
            head = stream.read(24)
            _, opcode, key, _, _, status, body, _, _ = struct.unpack(">BBHBBHIIQ", head)
            stream.read(body)
            if opcode == 0x10 and key:
                continue
            got.append((opcode, status))
            if opcode == last:
                return got


_STORE = struct.pack(">II", 7, 0)
_PACKETS: Sequence[tuple[bytes, str, str]] = (
    (packet(0x0B), "version", "OK"),
    (packet(0x00, b"absent"), "get", "NOT_FOUND"),
    (packet(0x01, b"fruit", b"apple", extras=_STORE), "set", "OK"),
    (packet(0x00, b"fruit"), "get", "OK"),
    (packet(0x0C, b"fruit"), "getk", "OK"),
    (packet(0x02, b"fruit", b"x", extras=_STORE), "add", "EXISTS"),
    (packet(0x03, b"absent", b"x", extras=_STORE), "replace", "NOT_FOUND"),
    (packet(0x0E, b"fruit", b" pie"), "append", "OK"),
    (packet(0x0F, b"absent", b"hot"), "prepend", "NOT_STORED"),
    (packet(0x05, b"count", extras=struct.pack(">QQI", 1, 5, 0)), "incr", "OK"),
    (packet(0x06, b"count", extras=struct.pack(">QQI", 1, 5, 0)), "decr", "OK"),
    (packet(0x05, b"fruit", extras=struct.pack(">QQI", 1, 5, 0)), "incr", "NON_NUMERIC"),
    (packet(0x1C, b"fruit", extras=bytes(4)), "touch", "OK"),
    (packet(0x1D, b"fruit", extras=bytes(4)), "gat", "OK"),
    (packet(0x01, b"large", bytes(1 << 20), extras=_STORE), "set", "TOO_LARGE"),
    (packet(0x04, b"fruit"), "delete", "OK"),
    (packet(0x04, b"fruit"), "delete", "NOT_FOUND"),
    (packet(0x10), "stats", "OK"),
    (packet(0x10, b"settings"), "stats", "OK"),
    (packet(0x60), "*", "UNKNOWN_COMMAND"),
    (packet(0x0A), "noop", "OK"),
    (packet(0x08), "flush_all", "OK"),
)


def packets(port: int, *, large: bool = True) -> Counter[Said]:
    """Each kind of command of the binary protocol, one after the other."""
    done: Counter[Said] = Counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for request, command, outcome in _PACKETS:
            if not large and len(request) > 65536:
                continue
            connection.sendall(request)
            ((_, status),) = _packets(connection, request[1])
            assert status == _STATUS[outcome][0], (command, status)
            done[said(command, outcome)] += 1
        connection.sendall(packet(0x07))
        assert len(_packets(connection, 0x07)) == 1
        done[said("quit", "OK")] += 1
    return done


def quiet_packets(port: int, rounds: int = 1, keys: int = 20) -> Counter[Said]:
    """Quiet ones in one write with a noop behind them: told apart by opaque value or by key; each second key is there."""
    done: Counter[Said] = Counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(rounds):
            names = [b"key%d" % i for i in range(keys)]
            batch = packet(0x18)
            batch += b"".join(packet(0x11, name, b"v" * 10, extras=_STORE) for name in names[::2])
            batch += b"".join(packet(0x09, name, opaque=i + 1) for i, name in enumerate(names))
            batch += b"".join(packet(0x0D, name) for name in names)
            batch += b"".join(packet(0x12, name, b"v", extras=_STORE, opaque=i) for i, name in enumerate(names))
            batch += b"".join(packet(0x14, name) for name in names) + packet(0x14, names[0])
            connection.sendall(batch + packet(0x0A))
            _packets(connection, 0x0A)
            half = keys // 2
            done += Counter(
                {
                    said("flush_allq", ""): 1,
                    said("setq", ""): half,
                    said("getq", "OK"): half,
                    said("getq", "NOT_FOUND"): half,
                    said("getkq", "OK"): half,
                    said("getkq", "NOT_FOUND"): half,
                    said("addq", "EXISTS"): half,
                    said("addq", ""): half,
                    said("deleteq", ""): keys,
                    said("deleteq", "NOT_FOUND"): 1,
                    said("noop", "OK"): 1,
                }
            )
    return done


def everyday(port: int, rounds: int, size: int = 1000) -> Counter[Said]:
    """pymemcache, as an application uses it. What it stores at once stays below what is captured of one write."""
    client = Client(("127.0.0.1", port), default_noreply=False)
    many = {f"user:{i}": b"x" * (i * 7 % 50) for i in range(30)}
    for number in range(rounds):
        client.set(f"session:{number}", b"y" * size)
        assert client.get(f"session:{number}")
        assert client.get("session:none") is None
        client.set_many(many)
        assert len(client.get_many([*many, "none"])) == len(many)
        client.delete_many([f"user:{i}" for i in range(5)])
        client.set("count", "1")
        client.incr("count", 2)
        client.set("unanswered", "1", noreply=True)
    client.close()
    return _times(
        rounds,
        (
            (said("set", "OK"), 32),
            (said("get", "OK"), 2),
            (said("get", "NOT_FOUND"), 1),
            (said("delete", "OK"), 5),
            (said("incr", "OK"), 1),
            (said("set", ""), 1),
        ),
    )


def _times(rounds: int, counts: Iterable[tuple[Said, int]]) -> Counter[Said]:
    return Counter({one: count * rounds for one, count in counts})
