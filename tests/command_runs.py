# SPDX-License-Identifier: Apache-2.0
"""Which test, or which stage of .ci/run, runs each line of a shell block in the documents; what nothing runs stands here with its reason.

tests/unit/test_docs_lines.py fails for a line without a row, for a row without a line, and for a test or stage that is not there. Tests
that type lines of the documents take them from here (`typed_by`), so a row that says so is true.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tests.command_rules import shell_blocks
from tests.documents import bare, lines


class Way(Enum):
    """How a line is run."""

    TYPED = "a test that CI runs takes the line out of the page and types it, but for ports, folders and addresses"
    SAME = "a test that CI runs does the same in words of its own"
    DRY = "a test that CI runs has the program say what it would do"
    STAGE = "a stage of CI types it"
    BUILT = "a test types it that CI does not run, or only where somebody has built what it needs"
    NOT_RUN = "nothing runs it"


@dataclass(frozen=True, slots=True)
class Run:
    """`line` is a regular expression for a whole bare line. `where` is a test (`FILE::NAME`), or of STAGE `NAME: COMMAND`, more of them by `; `.

    `why` is what differs from the line, what a test of BUILT needs, or why nothing runs it. `built` is a test like those of BUILT, of a line
    that CI runs in its own way.
    """

    line: str
    way: Way
    where: str = ""
    why: str = ""
    built: str = ""


_RUN: Final = "tests/unit/test_docs_run.py"
_LOOKS: Final = f"{_RUN}::test_what_only_looks_is_run"
_START: Final = "tests/kernel/test_quick_start.py::test_the_second_step"
_CLUSTER: Final = "tests/deploy/test_docs_cluster.py"
_PLUGIN: Final = f"{_CLUSTER}::test_the_plugin_as_the_page_has_it"
_REAL: Final = "tests/deploy/test_real_api.py"
_REAL_HELM: Final = f"{_REAL}::test_helm_as_the_pages_have_it"
_REAL_FILE: Final = f"{_REAL}::test_one_file_as_the_pages_have_it"
_NEEDS_REAL: Final = "make kube-api, FIRESTEEL_REAL_API=1"
_MACHINE: Final = "tests/vm/test_docs.py"

RUNS: Final = (
    # A clone, and what make does in it.
    Run(r"git clone REPOSITORY firesteel && cd firesteel", Way.TYPED, f"{_RUN}::test_a_clone_is_made"),
    Run(r"sudo make run", Way.SAME, _START, "the stage build, then the agent that the recipe starts, on other ports"),
    Run(
        r"sudo make demo", Way.SAME,
        "tests/kernel/test_demo.py::test_the_demo_shows_exactly_what_its_shop_does_and_leaves_nothing",
        "the recipe's program, on other ports",
    ),
    Run(r"make test", Way.STAGE, "test: make test"),
    Run(r"make test .*|make test-unit .*|make bench", Way.DRY, f"{_RUN}::test_make_would_do_it"),
    Run(r"make test-vm", Way.STAGE, "vm: make test-vm", "on two kernels those of test_drivers.py, on a third of test_container.py and test_docs.py"),
    Run(
        r"make lint", Way.STAGE,
        "ruff: make lint-ruff; mypy: make lint-types; layers: make lint-layers; c: make lint-c; shell: make lint-shell",
        "each of its parts",
    ),
    Run(r"make fuzz .*", Way.STAGE, "fuzz: make fuzz", "for twenty seconds each"),
    Run(r"bash \.ci/run", Way.STAGE, "", "it is CI"),
    # An agent of this machine.
    Run(
        r"python3 -m http\.server .*|sleep \d+|curl .*|\.venv/bin/firesteel (top|status|explain .*)|kill %1",
        Way.TYPED, _START,
    ),
    Run(r"firesteel (doctor|status|explain .*)|sudo \.venv/bin/firesteel doctor", Way.TYPED, _LOOKS),
    Run(r"(\.venv/bin/)?firesteel replay .* --serve.*", Way.TYPED, f"{_RUN}::test_what_is_served_is_served"),
    Run(r"firesteel replay .* --json", Way.TYPED, _LOOKS),
    Run(
        r"tcpdump .*", Way.SAME,
        "tests/kernel/test_capture_replay.py::test_a_capture_gives_what_a_recording_gives", "other interfaces and ports",
    ),
    # Other kernels.
    Run(
        r"scripts/recompile-module\.sh", Way.SAME,
        "tests/unit/test_recompile.py::test_a_module_is_built_by_the_compiler_of_the_kernel",
        "with stand-ins for headers and compiler; the stage vm builds and loads the real one",
    ),
    Run(
        r"rmmod firesteel|rm -r /var/lib/firesteel/modules", Way.BUILT,
        f"{_MACHINE}::test_what_stays_on_a_node_is_taken_off", "make test-vm",
    ),
    Run(
        r"\.venv/bin/python -m tests\.vm run .*", Way.BUILT, f"{_MACHINE}::test_one_command_under_another_kernel", "make test-vm",
    ),
    Run(r"\.venv/bin/python -m tests\.vm list", Way.TYPED, _LOOKS),
    Run(r"\.venv/bin/python -m tests\.vm fetch newest", Way.STAGE, "vm: .venv/bin/python -m tests.vm fetch"),
    # A cluster.
    Run(r"docker (push|buildx imagetools) .*", Way.NOT_RUN, "", "CI has no registry"),
    Run(
        r"make image .*", Way.DRY, "tests/deploy/test_image_files.py::test_the_engine_is_told_what_to_build",
        "with a stand-in for the engine; the images of the README were built by hand",
    ),
    Run(r"make kubectl-plugin|sudo install build/kubectl/kubectl-firesteel .*", Way.TYPED, _PLUGIN),
    Run(
        r"kubectl firesteel .*|kubectl -n firesteel (exec|port-forward) .*", Way.TYPED, _PLUGIN,
        "against an API server of our own, which stands for the kubelets as well",
    ),
    Run(
        r"kubectl exec -n firesteel POD -- firesteel record - --duration 30s > FILE\.fsrec", Way.SAME,
        "tests/kernel/test_record.py::test_what_comes_out_of_standard_output_is_a_recording",
        "through a pipe; tests/deploy/test_container.py has the pod's container, without kubectl",
    ),
    Run(
        r"helm install .* --set metricsPort=.*", Way.DRY, f"{_CLUSTER}::test_side_by_side_with_kindling", "rendered",
    ),
    Run(
        r"helm (install|upgrade) (?!.* --set metricsPort=).*", Way.DRY, f"{_CLUSTER}::test_helm_renders_it",
        f"rendered; typed: {_NEEDS_REAL}", _REAL_HELM,
    ),
    Run(
        r"helm template .*", Way.DRY, f"{_CLUSTER}::test_helm_renders_it",
        f"rendered; typed: {_NEEDS_REAL}", _REAL_FILE,
    ),
    Run(
        r"helm uninstall .*|kubectl label namespace .*|kubectl delete namespace .*|kubectl label node NODE firesteel/profile=bcc",
        Way.BUILT, _REAL_HELM, _NEEDS_REAL,
    ),
    Run(
        r"kubectl (apply|delete) -f deploy/manifests/firesteel\.yaml", Way.BUILT, _REAL_FILE, _NEEDS_REAL,
    ),
    Run(
        r"openssl req .*|kubectl create (namespace|secret) .*", Way.TYPED,
        f"{_CLUSTER}::test_the_certificate_of_the_names_service", "what kubectl would create, it prints",
    ),
    # Grafana.
    Run(
        r"tar -xzf topo-plugin\.tar\.gz .*", Way.SAME,
        "tests/grafana/test_package.py::test_the_archives_are_named_and_hold_the_same", "read by Python's tarfile",
    ),
    Run(r"docker run .* grafana/grafana", Way.NOT_RUN, "", "no Grafana server is run anywhere yet"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the documents: where it stands first, and bare."""

    place: str
    text: str


def every_line() -> list[Line]:
    """Each bare line of the documents' shell blocks once, in the order of the pages."""
    found: dict[str, Line] = {}
    for block in shell_blocks():
        for place, line in lines(block):
            found.setdefault(bare(line), Line(place, bare(line)))
    return list(found.values())


LINES: Final = every_line()


def rows_of(line: str) -> list[Run]:
    """The rows that mean a line; there has to be one."""
    return [row for row in RUNS if re.fullmatch(row.line, line)]


def run_by(test: str) -> Iterator[Line]:
    """The lines that a test takes out of the documents: those whose row names it as `FILE::NAME`."""
    taking = {Way.TYPED, Way.DRY, Way.BUILT}
    for line in LINES:
        if any(row.built == test or (row.where == test and row.way in taking) for row in rows_of(line.text)):
            yield line


def of_a_terminal() -> dict[str, str]:
    """This process' environment without what make hands down: the tests themselves may be a make's."""
    ours = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS", "TESTS"}
    return {name: value for name, value in os.environ.items() if name not in ours}
