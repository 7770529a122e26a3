# SPDX-License-Identifier: Apache-2.0
"""Runs inside of a virtual machine, as root: one workload, counted by an agent with each driver in turn.

`python -m tests.vm.same_guest RESULT DRIVER[,DRIVER...]...` writes one JSON object: for each list of drivers, which one was
chosen and why the others were not, and the counts on the page.
"""

import contextlib
import ctypes
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.agents import Agent, running_agent
from tests.servers import program
from tests.vm.machine import patient

HTTP_PORT, CLOSED_PORT, DNS_PORT = 27080, 27081, 53
CONNECTIONS, FOUND, MISSING = 3, 6, 2
REFUSED = 4
QUERIES, UNKNOWN_NAMES = 5, 2
REQUESTS = CONNECTIONS * (FOUND + MISSING)
CONNECTS = CONNECTIONS + REFUSED
BODY = b"0123456789"
_BPF, _PROG_GET_FD_BY_ID = 321, 13  # the system call of x86-64, and its command
_COUNTED = ("request_total", "bytes_total", "connect_total", "retransmit_total")
_OF_THIS_RUN = ("pid", "src_port", "is_slow")
# Who listens is known with the first bytes that it serves: a connect that the agent posts before that has no name for it.
_KNOWN_LATER = ("dst_workload_kind", "dst_workload_name")
_REQUESTS = "kindling_topology_request_total{"
_CONNECTS = "kindling_tcp_connect_total{"
_SETTLE_SECONDS = patient(120.0)
_TURNS_SECONDS = 6.0
_LOOK_SECONDS = 2.0


def _answers(listener: socket.socket) -> None:
    """A server of HTTP/1.1 for one connection after the other."""
    with contextlib.suppress(OSError):
        while True:
            with listener.accept()[0] as served:
                while request := served.recv(4096):
                    status = b"404 Not Found" if b"/missing" in request else b"200 OK"
                    served.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(BODY), BODY))


def _names(server: socket.socket) -> None:
    """A server of names that knows some."""
    with contextlib.suppress(OSError):
        while True:
            query, client = server.recvfrom(512)
            if not query:  # shut down
                return
            code = 3 if b"nobody" in query else 0
            answer = struct.pack(">HHHHHH", *struct.unpack_from(">H", query), 0x8180 | code, 1, 0 if code else 1, 0, 0)
            address = b"" if code else b"\xc0\x0c" + struct.pack(">HHIH4s", 1, 1, 60, 4, bytes([192, 0, 2, 1]))
            server.sendto(answer + query[12:] + address, client)


@contextmanager
def _servers() -> Iterator[None]:
    listener = socket.create_server(("127.0.0.1", HTTP_PORT))
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", DNS_PORT))
    threads = [
        threading.Thread(target=_answers, args=(listener,), daemon=True),
        threading.Thread(target=_names, args=(names,), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server in (listener, names):
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()


def _workload() -> None:
    for _ in range(CONNECTIONS):
        with socket.create_connection(("127.0.0.1", HTTP_PORT)) as client:
            for path in ["/found"] * FOUND + ["/missing"] * MISSING:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: firesteel.test\r\n\r\n".encode())
                answer = b""
                while not answer.endswith(BODY):
                    answer += client.recv(4096)
    for _ in range(REFUSED):
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", CLOSED_PORT))
    for number in range(QUERIES):
        name = b"nobody" if number < UNKNOWN_NAMES else b"somebody"
        labels = bytes([len(name)]) + name + b"\x04test\0"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(
                struct.pack(">HHHHHH", 100 + number, 0x0100, 1, 0, 0, 0) + labels + b"\0\1\0\1", ("127.0.0.1", DNS_PORT)
            )
            client.recv(512)


def _counts(agent: Agent) -> dict[str, float]:
    """What was counted for our ports, by metric and the labels that are the same in every run."""
    found: dict[str, float] = {}
    ports = {str(port) for port in (HTTP_PORT, CLOSED_PORT, DNS_PORT)}
    for series in agent.page():
        if (
            series.name.startswith("kindling_")
            and series.name.endswith(_COUNTED)
            and series.labels.get("dst_port") in ports
        ):
            left_out = _OF_THIS_RUN + (_KNOWN_LATER if series.name.endswith("connect_total") else ())
            labels = {name: value for name, value in series.labels.items() if value and name not in left_out}
            key = f"{series.name}{json.dumps(labels, sort_keys=True)}"
            found[key] = found.get(key, 0) + series.value
    return {key: value for key, value in sorted(found.items()) if value}


def _settled(agent: Agent, expected: float) -> dict[str, float]:
    """The counts once there are so many requests and all connects, and then nothing changes for a few turns of the agent.

    An agent under emulation takes its time for a turn, and a row may wait for the name of its owner.
    """
    end = time.monotonic() + _SETTLE_SECONDS
    counts, since = _counts(agent), time.monotonic()
    while time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
        before, counts = counts, _counts(agent)
        if counts != before or _sum(counts, _REQUESTS) < expected or (expected and _sum(counts, _CONNECTS) < CONNECTS):
            since = time.monotonic()
        elif time.monotonic() - since > _TURNS_SECONDS:
            break
    return counts


def _sum(counts: dict[str, float], metric: str) -> float:
    return sum(value for key, value in counts.items() if key.startswith(metric))


def _retransmitted() -> int:
    """Segments that this kernel sent again since it was booted, of whatever connection (Tcp: RetransSegs)."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(values[names.index("RetransSegs")])


def _loaded() -> dict[str, Any]:
    """What is in the kernel for watching it: BPF programs by name, and probed functions, as `bpftool` and debugfs list them."""
    command = [program("bpftool"), "--json", "prog", "show"]
    listed = subprocess.run(command, check=False, capture_output=True, text=True)
    rows = json.loads(listed.stdout or "[]")
    programs = [row.get("name", "") for row in rows]
    probes = Path("/sys/kernel/debug/kprobes/list").read_text().splitlines()
    # ffffffff81a0b3c0  k  inet_sendmsg+0x0    [FTRACE]
    functions = [line.split()[2].partition("+")[0] for line in probes]
    verified = {row.get("name", ""): _verified(row["id"]) for row in rows}
    return {"programs": sorted(programs), "functions": sorted(set(functions)), "verified": verified}


def _verified(number: int) -> int:
    """Instructions that the verifier went through for a program (from 5.16 on: aba64c7da983); 0 where nobody says."""
    attributes = ctypes.create_string_buffer(struct.pack("=III", number, 0, 0), 12)
    fd = ctypes.CDLL(None).syscall(_BPF, _PROG_GET_FD_BY_ID, attributes, len(attributes))
    if fd < 0:
        return 0
    try:
        said = re.search(r"^verified_insns:\s*(\d+)", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.MULTILINE)
    finally:
        os.close(fd)
    return int(said[1]) if said else 0


def observed(drivers: str) -> dict[str, Any]:
    """What an agent that was told to try these drivers says of itself and of the workload."""
    listed = drivers if "," not in drivers else f"[{drivers}]"
    settings = (f"driver={listed}", "kubernetes.enabled=false")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent = stack.enter_context(running_agent(folder, settings, ring="1MiB"))
        # Servers last: a call that somebody was already in when the hooks came is seen by those at its end only.
        stack.enter_context(_servers())
        before = _retransmitted()
        _workload()
        # Without a probe there are none to wait for.
        counts = _settled(agent, 0 if drivers == "none" else REQUESTS + QUERIES)
        driver = agent.status()["driver"]
        hooks = {s.labels["hook"]: s.value for s in agent.page() if s.name == "firesteel_hook_attached"}
        (info,) = agent.find("firesteel_driver_info")
        told = {"driver": driver, "column": info.labels["hooks"], "counts": counts, "hooks": hooks}
        return told | {"loaded": _loaded(), "retransmitted": _retransmitted() - before}


def main() -> None:
    answers: dict[str, Any] = {}
    for drivers in sys.argv[2:]:
        try:
            answers[drivers] = observed(drivers)
        except Exception:  # noqa: BLE001 - the test outside shows it
            answers[drivers] = {"raised": traceback.format_exc()}
        Path(sys.argv[1]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
