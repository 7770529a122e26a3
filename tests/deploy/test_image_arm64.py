# SPDX-License-Identifier: Apache-2.0
"""An arm64 image that was built somewhere: what is in it, and that it counts and replays in an emulated machine as the code here does.

`FIRESTEEL_ARM64_IMAGE` is the folder of its root, `FIRESTEEL_ARM64_KERNEL` an arm64 kernel's vmlinuz (with BTF; without the second
only the files are looked at); docs/testing.md. `FIRESTEEL_ARM64_COLUMNS` leaves columns of hooks out. `FIRESTEEL_ARM64_FULL` is the root of
a full image in which that kernel's headers were installed: bcc and the module are compiled in it, and an agent counts with each.
"""

import base64
import contextlib
import json
import math
import os
import re
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analyzers.recording import pack_head
from tests import conversations, events
from tests.agents import FIRESTEEL, ROOT, Series, series_of, total
from tests.deploy import arm64_guest, trees
from tests.vm import initramfs, machine
from tests.vm.kernels import need

IMAGE = Path(os.environ.get("FIRESTEEL_ARM64_IMAGE", "/nowhere"))
KERNEL = os.environ.get("FIRESTEEL_ARM64_KERNEL", "")
RECORDINGS = ROOT / "tests" / "recordings"
REPLAYED = ("demo.fsrec", "conversations.fsrec", "shop-any.pcapng", "shop-lo-nano.pcap", "shop-snaplen-100.pcap")
FULL = Path(os.environ.get("FIRESTEEL_ARM64_FULL", "/nowhere"))
COLUMNS = os.environ.get("FIRESTEEL_ARM64_COLUMNS", "trampolines socket-tracepoints kprobes").split()
COMPILED = ("bcc", "kmod")
_SECONDS = 1800

pytestmark = pytest.mark.timeout(machine.patient(_SECONDS) + 300)
emulated = pytest.mark.skipif(not KERNEL, reason="optional: no arm64 kernel: FIRESTEEL_ARM64_KERNEL=vmlinuz")


def test_everything_is_for_arm64() -> None:
    assert trees.machines(IMAGE) == {"aarch64"}
    assert trees.bpf_objects(IMAGE) == {"firesteel-typed-arm64.bpf.o", "firesteel-untyped-arm64.bpf.o"}


def test_it_is_small_and_whole() -> None:
    assert trees.size_mb(IMAGE) < trees.LARGEST_MB
    assert trees.missing_libraries(IMAGE) == set()


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the machine finds below /orders."""
    folder = tmp_path_factory.mktemp("orders")
    for name in REPLAYED:
        place = RECORDINGS / name if name.endswith(".fsrec") else RECORDINGS / "captures" / name
        if name != "conversations.fsrec":
            (folder / name).write_bytes(place.read_bytes())
    _conversations(folder / "conversations.fsrec")
    commands = [["version"], ["check-config"], ["doctor", "--json"], *(["replay", "--json", name] for name in REPLAYED)]
    _hand_over(folder, {"commands": commands, "drivers": [("core", column) for column in COLUMNS]})
    return folder


def _hand_over(folder: Path, orders: dict[str, Any]) -> None:
    (folder / "empty.yaml").touch()
    (folder / "orders.json").write_text(json.dumps(orders))
    (folder / "guest.py").write_bytes(Path(arm64_guest.__file__).read_bytes())


def _conversations(path: Path) -> None:
    """Every recorded conversation over TCP, at the same time, as one recording."""
    made = []
    for number, talk in enumerate(one for one in conversations.load_all() if not one.datagrams):
        for event in conversations.events_of(talk, conn_id=100 + number):
            time_ns = struct.unpack_from("<Q", event)[0] + events.SECOND
            made.append((time_ns, struct.pack("<Q", time_ns) + event[8:]))
    made.sort(key=lambda one: one[0])
    padded = b"".join(event + bytes(-len(event) % 8) for _, event in made)
    path.write_bytes(pack_head("core", "6.18.0", 1_700_000_000 * events.SECOND) + padded)


@pytest.fixture(scope="module")
def answers(orders: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return booted(IMAGE, orders, tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The same of the full image and what it compiles."""
    folder = tmp_path_factory.mktemp("full")
    _hand_over(
        folder,
        {
            "commands": [["version"], ["doctor", "--json"]],
            "programs": [["/usr/local/bin/recompile-module.sh"]],
            "drivers": [(driver, "") for driver in COMPILED],
        },
    )
    return booted(FULL, folder, tmp_path_factory.mktemp("machine"))


def booted(image: Path, orders: Path, folder: Path) -> list[dict[str, Any]]:
    """What a machine told that has the image as its root, and what it is to do below /orders."""
    archive = folder / "initramfs"
    with archive.open("wb") as out:
        for piece in initramfs.trees((image, ""), (orders, "orders")):
            out.write(piece)
    memory = 1 + math.ceil(5 * archive.stat().st_size / 2**30)  # as it is, unpacked, and what compilers take
    command = [
        need("qemu-system-aarch64", "qemu-system-arm"), "-machine", "virt", "-cpu", "cortex-a76", "-accel", "tcg,thread=multi",
        "-smp", str(machine.CPUS), "-m", f"{memory}G", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-kernel", KERNEL, "-initrd", str(archive), "-serial", "stdio",
        "-append", f"console=ttyAMA0 panic=-1 loglevel=2 rdinit={arm64_guest.PYTHON} -- -P /orders/guest.py",
    ]  # fmt: skip
    console = archive.with_name("console")
    seconds = machine.patient(_SECONDS)
    # What was told before its time ran out is looked at all the same.
    with console.open("wb") as out, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=seconds, check=False)
    archive.unlink()
    text = console.read_text(errors="replace")
    told = list(_told(text))
    assert told, text[-5000:]
    assert [answer for answer in told if answer["what"] in {"fault", "mount"}] == []
    return told


def _told(text: str) -> Iterator[dict[str, Any]]:
    for line in re.findall(r"^FIRESTEEL (\S+)\s*$", text, re.MULTILINE):
        answer: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(line)))
        print({name: value if len(str(value)) < 2000 else "..." for name, value in answer.items()})
        yield answer


def ran(answers: list[dict[str, Any]], *command: str) -> dict[str, Any]:
    (answer,) = [one for one in answers if one["what"] == "run" and one["command"] == list(command)]
    return answer


def here(*command: str, cwd: Path) -> str:
    environment = {**os.environ, "NODE_NAME": "a-node", "FIRESTEEL_CONFIG": str(cwd / "empty.yaml")}
    return subprocess.run(
        [*FIRESTEEL, *command], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    ).stdout


@emulated
def test_commands_answer(answers: list[dict[str, Any]], orders: Path) -> None:
    (first,) = [one for one in answers if one["what"] == "machine"]
    assert first["uname"][4] == "aarch64"
    told, known = (
        text.split(", Python")[0] for text in (ran(answers, "version")["output"], here("version", cwd=orders))
    )
    assert told == known
    assert ran(answers, "check-config")["status"] == 0
    report = json.loads(ran(answers, "doctor", "--json")["output"])
    assert report["ok"], report
    assert [row["sentence"] for row in report["checks"] if "core loads by" in row["sentence"]] != []


@emulated
@pytest.mark.parametrize("name", REPLAYED)
def test_a_recording_gives_the_same_bytes(name: str, answers: list[dict[str, Any]], orders: Path) -> None:
    answer = ran(answers, "replay", "--json", name)
    assert (answer["status"], answer["output"]) == (0, here("replay", "--json", name, cwd=orders))


@emulated
@pytest.mark.parametrize("column", COLUMNS)
def test_it_counts(column: str, answers: list[dict[str, Any]]) -> None:
    page = counted(answers, "core", column)
    assert total(page, "firesteel_driver_info", driver="core", hooks=column) == 1


@emulated
@pytest.mark.skipif(not FULL.is_dir(), reason="optional: no full arm64 image: FIRESTEEL_ARM64_FULL=folder")
@pytest.mark.parametrize("driver", COMPILED)
def test_what_the_full_image_compiles_counts(driver: str, compiled: list[dict[str, Any]]) -> None:
    (script,) = [one for one in compiled if one["what"] == "run" and one["program"].endswith("recompile-module.sh")]
    assert script["status"] == 0, script["errors"]
    page = counted(compiled, driver, "")
    assert total(page, "firesteel_driver_info", driver=driver) == 1


def tells_of_every_reset(answers: list[dict[str, Any]]) -> bool:
    """Whether tcp_send_reset is also called for a port where nobody listens: not yet in tcp_v4_send_reset of Linux 6.1, but in 6.12's."""
    (first,) = [one for one in answers if one["what"] == "machine"]
    return tuple(map(int, first["uname"][2].split(".")[:2])) >= (6, 12)


def counted(answers: list[dict[str, Any]], driver: str, column: str) -> list[Series]:
    """The page of the agent that had this driver, which is right of all that the client did."""
    (answer,) = [
        one for one in answers if one["what"] == "watch" and (one["driver"], one["column"]) == (driver, column)
    ]
    assert "status" in answer, answer["log"]
    assert answer["status"]["driver"]["name"] == driver
    page, port = series_of(answer["page"]), arm64_guest.PORT
    requests = {
        status: total(page, "kindling_entity_request_total", port=str(port), response_content=status)
        for status in ("404", "200")
    }
    assert requests == {"404": arm64_guest.MISSING, "200": arm64_guest.THERE}
    assert total(page, "kindling_topology_request_total", dst_port=str(port)) == arm64_guest.MISSING + arm64_guest.THERE
    refused = {"dst_port": str(arm64_guest.REFUSED), "success": "false"}
    assert total(page, "kindling_tcp_connect_total", **refused) == arm64_guest.REFUSALS
    port_of_nobody = str(arm64_guest.REFUSED)
    assert (
        total(page, "kindling_tcp_reset_total", direction="received", dst_port=port_of_nobody) == arm64_guest.REFUSALS
    )
    sent = total(page, "kindling_tcp_reset_total", direction="sent", src_port=port_of_nobody)
    assert sent == (arm64_guest.REFUSALS if tells_of_every_reset(answers) else 0)
    # Not firesteel_lost_total: of the machine's other connections not everything need be seen, and that is no loss.
    assert answer["status"]["loss"]["total"] == 0, answer["status"]["loss"]
    (engine,) = [fields for command, fields in answer["processes"].items() if "firesteel-engine" in command]
    assert (int(engine["CapBnd"], 16), engine["Uid"].split()[0], engine["Seccomp"]) == (0, "65532", "2")
    assert answer["ended"] == 0
    assert "Traceback" not in answer["log"]
    return page
