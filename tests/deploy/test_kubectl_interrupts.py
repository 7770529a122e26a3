# SPDX-License-Identifier: Apache-2.0
"""What `kubectl firesteel` made for a while goes however that while ends: by signals, by refusals, by both."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.deploy.fake_cluster import FakeCluster, Wrong
from tests.deploy.plugged import Plugin, a_plugin  # noqa: F401 - fixture
from tests.deploy.plugin import PLUGIN, environment_of
from tests.deploy.served import Object
from tests.deploy.test_kubectl_faults import name_of_check
from tests.receivers import until

pytestmark = pytest.mark.timeout(240)
_LONG = 60.0
_SPACE = "/api/v1/namespaces/firesteel"
_JOBS = "/apis/batch/v1/namespaces/firesteel/jobs"


@contextmanager
def running(plugin: Plugin, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    # Where the tests run in the background SIGINT is ignored, and what is ignored stays so.
    command = ["env", "--default-signal=INT,TERM,HUP", str(PLUGIN), *words]
    with subprocess.Popen(
        command, env=environment_of(plugin.folder), cwd=plugin.folder, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:  # fmt: skip
        yield process


def refuse(cluster: FakeCluster, what: str, *paths: str) -> None:
    """From now on: what begins with one of these, where it is there or is to be made."""
    answer = cluster.answer

    def refusing(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        if method == what and path.startswith(paths):
            if method == "DELETE":
                answer("GET", path, {}, None)
            raise Wrong(403, "Forbidden", "not by you")
        return answer(method, path, query, body)

    cluster.answer = refusing  # type: ignore[method-assign]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_check_that_is_interrupted_leaves_nothing(plugin: Plugin, number: signal.Signals) -> None:
    """A terminal sends Ctrl-C to all that the plugin started, and through one of these it takes its Jobs away."""
    cluster = plugin.cluster
    cluster.broken_nodes |= {"a", "b"}
    cluster.end_seconds = 0.0
    before = set(cluster.store)
    with running(plugin, "check", "--timeout", "120") as process:
        until(lambda: len(cluster.of("jobs")) == 2, _LONG)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=_LONG)
    assert (process.returncode, out, err) == (130, b"", b"")
    cluster.answer("GET", "/api/v1/nodes", {}, None)
    assert set(cluster.store) == before
    # Nor the process by which it asked.
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(plugin.folder / "kubeconfig").encode() in environ(path)]  # fmt: skip


def test_a_check_under_nohup_outlives_its_terminal(plugin: Plugin) -> None:
    plugin.cluster.broken_nodes |= {"a", "b"}
    with subprocess.Popen(
        ["nohup", str(PLUGIN), "check", "--timeout", "6"], env=environment_of(plugin.folder), cwd=plugin.folder, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        until(lambda: len(plugin.cluster.of("jobs")) == 2, _LONG)
        os.killpg(process.pid, signal.SIGHUP)
        out, _err = process.communicate(timeout=_LONG)
    assert (process.returncode, out.count("ImagePullBackOff")) == (1, 2)


@pytest.mark.parametrize(
    ("first", "others", "told"),
    [
        (signal.SIGTERM, (signal.SIGHUP, signal.SIGTERM), b""),
        (signal.SIGINT, (signal.SIGINT, signal.SIGINT), b"still taking away what was made"),
        (None, (signal.SIGINT, signal.SIGTERM), b"still taking away what was made"),
    ],
    ids=["service-manager", "impatient", "while-it-cleans-up"],
)
def test_a_second_signal_does_not_break_the_cleaning_up(
    plugin: Plugin, first: signal.Signals | None, others: Sequence[signal.Signals], told: bytes
) -> None:
    """A service manager sends SIGTERM and SIGHUP, one after the other; people press Ctrl-C until something happens."""
    cluster = plugin.cluster
    cluster.broken_nodes |= {"a", "b"}
    cluster.end_seconds = 0.0
    before = set(cluster.store)
    answer = cluster.answer
    pids: list[int] = []
    cleaning: list[bool] = []

    def slowly(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        # Before the Jobs are made, those of an earlier call are deleted.
        if method == "DELETE" and pids and (cleaning or len(cluster.of("jobs")) == 2):
            cleaning.append(True)
            for number in others:
                os.kill(pids[0], number)
                time.sleep(0.25)
        return answer(method, path, query, body)

    cluster.answer = slowly  # type: ignore[method-assign]
    # Without a first signal the Jobs time out, and what comes while they are deleted is the first.
    with running(plugin, "check", "--timeout", "120" if first else "3") as process:
        pids.append(process.pid)
        if first:
            until(lambda: len(cluster.of("jobs")) == 2, _LONG)
            process.send_signal(first)
        out, err = process.communicate(timeout=_LONG)
    assert (process.returncode, out) == (130, b"")
    assert told in err if told else err == b""
    pids.clear()
    cluster.answer("GET", "/api/v1/nodes", {}, None)
    assert set(cluster.store) == before


def test_an_interrupted_uninstallation_leaves_no_namespace_that_it_made(plugin: Plugin) -> None:
    """An earlier one took all but what is on a node that could not be reached; Pod Security lets all in into the new one."""
    cluster = plugin.cluster
    cluster.node("old", {"firesteel/profile": "kmod"})
    cluster.broken_nodes.add("old")
    cluster.end_seconds = 0.0
    before = set(cluster.store)
    with running(plugin, "uninstall", "--timeout", "120") as process:
        until(lambda: cluster.of("jobs"), _LONG)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=_LONG)
    assert (process.returncode, out, err) == (130, b"", b"")
    cluster.answer("GET", "/api/v1/nodes", {}, None)
    assert set(cluster.store) == before


@pytest.mark.parametrize("command", ["check", "uninstall"])
def test_a_namespace_goes_whose_jobs_are_refused(plugin: Plugin, command: str) -> None:
    cluster = plugin.cluster
    cluster.node("old", {"firesteel/profile": "kmod"})
    cluster.end_seconds = 0.0
    before = set(cluster.store)
    refuse(cluster, "POST", _JOBS)
    told = plugin(command)
    assert (told.returncode, told.stdout, told.stderr) == (3, "", "kubectl firesteel: not by you\n")
    assert ("POST", "/api/v1/namespaces") in cluster.requests
    cluster.answer("GET", "/api/v1/nodes", {}, None)
    assert set(cluster.store) == before


def test_an_uninstallation_tells_of_a_namespace_that_went_at_once(plugin: Plugin) -> None:
    cluster = plugin.cluster
    cluster.node("old", {"firesteel/profile": "kmod"})
    cluster.end_seconds = 0.0
    before = set(cluster.store)
    told = plugin("uninstall")
    assert (told.returncode, told.stdout.splitlines()[-2]) == (0, "deleted namespace/firesteel"), told.stderr
    assert set(cluster.store) == before


@pytest.mark.parametrize("when", ["never", "before", "meanwhile"])
def test_all_that_cannot_be_deleted_is_named_and_an_interrupt_stays_one(plugin: Plugin, when: str) -> None:
    """A signal while the Jobs run, or while they are deleted; then it is the exit code that tells of it."""
    cluster = plugin.cluster
    if when == "before":
        cluster.broken_nodes |= {"a", "b"}
    else:
        cluster.work = lambda _pod, _command: (0, "", "")
    refuse(cluster, "DELETE", _JOBS, _SPACE)
    answer = cluster.answer
    pids: list[int] = []

    def interrupting(method: str, path: str, query: Mapping[str, str], body: Object | None) -> Object | str:
        if method == "DELETE" and when == "meanwhile" and cluster.of("jobs"):
            os.kill(pids[0], signal.SIGTERM)
            time.sleep(0.25)
        return answer(method, path, query, body)

    cluster.answer = interrupting  # type: ignore[method-assign]
    with running(plugin, "check", "--timeout", "120") as process:
        pids.append(process.pid)
        until(lambda: len(cluster.of("jobs")) == 2, _LONG)
        if when == "before":
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=_LONG)
    assert (process.returncode, out) == (3 if when == "never" else 130, b"")
    jobs = ", ".join(f"{_JOBS}/{name_of_check(node)}" for node in ("a", "b"))
    which = {f"kubectl firesteel: {what} could not be deleted: not by you" for what in (jobs, _SPACE)}
    assert set(err.decode().splitlines()) == which


def environ(path: Path) -> bytes:
    """Of a process; nothing of one that is gone."""
    with suppress(OSError):
        return path.with_name("environ").read_bytes()
    return b""
