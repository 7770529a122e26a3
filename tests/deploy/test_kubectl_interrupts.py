# SPDX-License-Identifier: Apache-2.0
"""What `kubectl firesteel` made for a while goes however that while ends: by signals, by refusals, by both."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.deploy.plugged import Plugin, a_plugin  # noqa: F401 - fixture
from tests.deploy.plugin import PLUGIN, environment_of
from tests.deploy.served import Object
from tests.receivers import until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_check_that_is_interrupted_leaves_nothing(plugin: Plugin, number: signal.Signals) -> None:
    """A terminal sends Ctrl-C to all that the plugin started, and through one of these it takes its Jobs away."""
    cluster = plugin.cluster
    cluster.broken_nodes |= {"a", "b"}
    cluster.end_seconds = 0.0
    before = set(cluster.store)
    # Where the tests run in the background SIGINT is ignored, and what is ignored stays so.
    command = ["env", "--default-signal=INT,TERM,HUP", str(PLUGIN), "check", "--timeout", "120"]
    with subprocess.Popen(
        command, env=environment_of(plugin.folder), cwd=plugin.folder, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:  # fmt: skip
        until(lambda: len(cluster.of("jobs")) == 2)
        os.killpg(running.pid, number)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, b"", b"")
    cluster.answer("GET", "/api/v1/nodes", {}, None)
    assert set(cluster.store) == before
    # Nor the process by which it asked.
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(plugin.folder / "kubeconfig").encode() in environ(path)]  # fmt: skip


def test_a_check_under_nohup_outlives_its_terminal(plugin: Plugin) -> None:
    plugin.cluster.broken_nodes |= {"a", "b"}
    with subprocess.Popen(
        ["nohup", str(PLUGIN), "check", "--timeout", "6"], env=environment_of(plugin.folder), cwd=plugin.folder, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        until(lambda: len(plugin.cluster.of("jobs")) == 2)
        os.killpg(running.pid, signal.SIGHUP)
        out, _err = running.communicate(timeout=60)
    assert (running.returncode, out.count("ImagePullBackOff")) == (1, 2)


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
    command = ["env", "--default-signal=INT,TERM,HUP", str(PLUGIN), "check", "--timeout", "120" if first else "3"]
    with subprocess.Popen(
        command, env=environment_of(plugin.folder), cwd=plugin.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        pids.append(running.pid)
        if first:
            until(lambda: len(cluster.of("jobs")) == 2)
            running.send_signal(first)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, b"")
    assert told in err if told else err == b""
    pids.clear()
    cluster.answer("GET", "/api/v1/nodes", {}, None)
    assert set(cluster.store) == before


def environ(path: Path) -> bytes:
    """Of a process; nothing of one that is gone."""
    with suppress(OSError):
        return path.with_name("environ").read_bytes()
    return b""
