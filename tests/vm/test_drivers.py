# SPDX-License-Identifier: Apache-2.0
"""The driver matrix: one workload under each driver on each kernel counts the same, and the list of drivers is honoured.

What a driver tells of each system call is in test_bcc.py, test_core_columns.py and test_kmod.py.
"""

import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from probes import bcc_cache, kmod
from probes.hooks import Attach, HookSet, hooks_of
from tests.vm import compiled, kernels, machine, modules
from tests.vm.machine import EXCHANGE
from tests.vm.same_guest import (
    BODY,
    CLOSED_PORT,
    CONNECTIONS,
    DNS_PORT,
    FOUND,
    HTTP_PORT,
    MISSING,
    QUERIES,
    REFUSED,
    UNKNOWN_NAMES,
)  # fmt: skip

pytestmark = pytest.mark.timeout(machine.patient(2400))
NAMES = os.environ.get("FIRESTEEL_VM_KERNELS", "").split() or [kernel.name for kernel in kernels.KERNELS]
DRIVERS = os.environ.get("FIRESTEEL_VM_DRIVERS", "core bcc kmod none").split()
CHOICE = "core,bcc,none"
Test = TypeVar("Test", bound=Callable[..., None])
_SECONDS = 900
_REQUESTS = "kindling_topology_request_total"
_CONNECTS = "kindling_tcp_connect_total"
_RETRANSMITS = "kindling_tcp_retransmit_total"
_SENT, _ANSWERED = (f"kindling_topology_request_{way}_bytes_total" for way in ("request", "response"))


def _with(drivers: str) -> Callable[[Test], Test]:
    """A test that there is only where these drivers were asked for: what nobody asked for is not skipped."""

    def mark(test: Test) -> Test:
        test.__dict__["__test__"] = set(drivers.split(",")) <= set(DRIVERS)
        return test

    return mark


@pytest.fixture(scope="module", params=NAMES)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One machine for all drivers: the start of one takes longer than the workload."""
    name: str = request.param
    exchange = tmp_path_factory.mktemp("exchange")
    words = [f"export {bcc_cache.VARIABLE}={compiled.cache()} FIRESTEEL_START_SECONDS={machine.patient(300):g}"]
    if "bcc" in DRIVERS:
        compiled.compiled(name)
    if "kmod" in DRIVERS:
        words.append(modules.handed_over(name, exchange))
    guest = ".venv/bin/python -m tests.vm.same_guest"
    words.append(f"{guest} {EXCHANGE}/each {' '.join(DRIVERS)}")
    if set(CHOICE.split(",")) <= set(DRIVERS):
        # Where core cannot be had, the next of the list is taken: here it is not allowed any types to go by.
        words.append(f"mount --bind /tmp /sys/kernel/btf && {guest} {EXCHANGE}/choice {CHOICE}")
    finished = machine.run(name, "\n".join(words), seconds=_SECONDS, exchange=exchange)
    # Of a machine that was killed nothing is held against anything: .ci/run may try that one again.
    assert not finished.timed_out, f"{finished.release} took too long\n{finished.output}{finished.console[-4000:]}"
    assert (exchange / "each").exists(), finished.output + finished.console[-4000:]
    answers: dict[str, Any] = json.loads((exchange / "each").read_text())
    if (exchange / "choice").exists():
        answers |= json.loads((exchange / "choice").read_text())
    return answers | {"finished": finished}


def _told(seen: dict[str, Any], drivers: str) -> dict[str, Any]:
    found: dict[str, Any] = seen[drivers]
    assert "raised" not in found, found["raised"]
    return found


def _sums(counts: dict[str, float], metric: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Of one metric, summed by these labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for key, value in counts.items():
        name, brace, rest = key.partition("{")
        if name == metric:
            fields = json.loads(brace + rest)
            found[tuple(fields.get(label, "") for label in labels)] += int(value)
    return dict(found)


@pytest.mark.parametrize("driver", [driver for driver in DRIVERS if driver != "none"])
def test_requests_bytes_and_connects_are_exact(seen: dict[str, Any], driver: str) -> None:
    told = _told(seen, driver)
    assert told["driver"]["name"] == driver
    counts = told["counts"]
    http, dns = str(HTTP_PORT), str(DNS_PORT)
    assert _sums(counts, _REQUESTS, "dst_port", "protocol", "status_code", "is_error") == {
        (http, "http", "200", "false"): CONNECTIONS * FOUND,
        (http, "http", "404", "true"): CONNECTIONS * MISSING,
        (dns, "dns", "0", "false"): QUERIES - UNKNOWN_NAMES,
        (dns, "dns", "3", "true"): UNKNOWN_NAMES,
    }
    heads = {path: len(f"GET {path} HTTP/1.1\r\nHost: firesteel.test\r\n\r\n") for path in ("/found", "/missing")}
    answers = {
        status: len(f"HTTP/1.1 {status}\r\nContent-Length: {len(BODY)}\r\n\r\n") + len(BODY)
        for status in ("200 OK", "404 Not Found")
    }
    known, unknown = 12 + len("\x08somebody\x04test\0") + 4, 12 + len("\x06nobody\x04test\0") + 4
    assert _sums(counts, _SENT, "dst_port", "status_code") == {
        (http, "200"): CONNECTIONS * FOUND * heads["/found"],
        (http, "404"): CONNECTIONS * MISSING * heads["/missing"],
        (dns, "0"): (QUERIES - UNKNOWN_NAMES) * known,
        (dns, "3"): UNKNOWN_NAMES * unknown,
    }
    assert _sums(counts, _ANSWERED, "dst_port", "status_code") == {
        (http, "200"): CONNECTIONS * FOUND * answers["200 OK"],
        (http, "404"): CONNECTIONS * MISSING * answers["404 Not Found"],
        (dns, "0"): (QUERIES - UNKNOWN_NAMES) * (known + 16),
        (dns, "3"): UNKNOWN_NAMES * unknown,
    }
    assert _sums(counts, _CONNECTS, "dst_port", "success", "errno") == {
        (http, "true", "0"): CONNECTIONS,
        (str(CLOSED_PORT), "false", "111"): REFUSED,
    }


def test_every_driver_gives_the_same_series(seen: dict[str, Any]) -> None:
    """But for retransmits: a processor that has to wait for the host's may send again what was only late."""
    told = {driver: _told(seen, driver)["counts"] for driver in DRIVERS if driver != "none"}
    same = {
        driver: {key: value for key, value in counts.items() if not key.startswith(_RETRANSMITS)}
        for driver, counts in told.items()
    }
    first = next(iter(same.values()))
    assert first
    assert same == dict.fromkeys(same, first)


@pytest.mark.parametrize("driver", [driver for driver in DRIVERS if driver != "none"])
def test_no_more_retransmits_are_told_than_the_kernel_counts(seen: dict[str, Any], driver: str) -> None:
    told = _told(seen, driver)
    assert sum(_sums(told["counts"], _RETRANSMITS, "dst_port").values()) <= told["retransmitted"]


@_with("none")
def test_without_a_probe_no_request_is_made_up(seen: dict[str, Any]) -> None:
    told = _told(seen, "none")
    assert told["driver"]["name"] == "none"
    assert _sums(told["counts"], _REQUESTS, "dst_port") == {}
    assert told["hooks"] == {}


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_kernel_lists_the_hooks_of_the_table_and_no_others(seen: dict[str, Any], driver: str) -> None:
    told = _told(seen, driver)
    # The kernel keeps 15 characters of a name (BPF_OBJ_NAME_LEN); what has types is listed with all of it.
    programs = {name[:15] for name in told["loaded"]["programs"]}
    functions = set(told["loaded"]["functions"])
    here = {name for name, attached in told["hooks"].items() if attached}
    if driver in {"kmod", "none"}:
        assert programs == set()
        names = {name for watched in kmod.WATCHED for name in watched.names} if driver == "kmod" else set()
        assert functions <= names
        assert driver == "none" or functions >= {"inet_sendmsg", "inet_recvmsg"}
        return
    rows = [hook for hook in hooks_of(HookSet(told["column"])) if hook.name in here]
    assert programs <= {hook.program[:15] for hook in rows}
    assert programs >= {hook.program[:15] for hook in rows if hook.required}
    assert functions == {hook.name for hook in rows if hook.attach in {Attach.KPROBE, Attach.KRETPROBE}}


@pytest.mark.parametrize("driver", [driver for driver in DRIVERS if driver in {"core", "bcc"}])
def test_the_verifier_has_room_left(seen: dict[str, Any], driver: str) -> None:
    """It gives up after a million, and the next kernel's goes through more for the same program than this one's."""
    verified = _told(seen, driver)["loaded"]["verified"]
    assert {name: count for name, count in verified.items() if count > 250_000} == {}
    assert any(verified.values()) or seen["finished"].release.startswith("5.")


@_with(CHOICE)
def test_the_list_is_tried_in_its_order(seen: dict[str, Any]) -> None:
    told = _told(seen, CHOICE)["driver"]
    assert told["name"] == "bcc"
    (reason,) = [rejected["reason"] for rejected in told["rejected"] if rejected["name"] == "core"]
    assert "no BTF" in reason
    # What comes after the one that was taken was not tried, and needs no reason.
    assert [rejected["name"] for rejected in told["rejected"]] == ["core"]


def test_no_kernel_complains(seen: dict[str, Any]) -> None:
    assert seen["finished"].complaints == []
