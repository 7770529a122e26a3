# SPDX-License-Identifier: Apache-2.0
"""What a kernel refuses, made so on purpose: the driver that `auto` takes then, and what doctor says of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from probes import bcc_cache
from tests.vm import compiled, machine, modules
from tests.vm.machine import EXCHANGE

pytestmark = pytest.mark.timeout(machine.patient(1800))
_NAME = (os.environ.get("FIRESTEEL_VM_KERNELS", "").split() or ["6.1"])[0]
"""One kernel does: what is refused is the same on each, and asked in Debian's from 5.10 on."""
_SECONDS = 600


def _asked(exchange: Path, drivers: str, *cases: str, words: str = "") -> dict[str, Any]:
    compiled.compiled(_NAME)
    command = "\n".join([
        f"export {bcc_cache.VARIABLE}={compiled.cache()} FIRESTEEL_START_SECONDS={machine.patient(300):g}",
        modules.handed_over(_NAME, exchange),
        f".venv/bin/python -m tests.vm.refusals_guest {EXCHANGE}/told {drivers} {' '.join(cases)}",
    ])  # fmt: skip
    finished = machine.run(_NAME, command, seconds=_SECONDS, exchange=exchange, words=words)
    assert (exchange / "told").exists(), finished.output + finished.console[-4000:]
    told: dict[str, Any] = json.loads((exchange / "told").read_text())
    for case in cases:
        assert "raised" not in told[case], told[case]["raised"]
    return told


def _why(told: dict[str, Any]) -> dict[str, str]:
    """Reasons by driver; the page must have the same."""
    listed = told["driver"]["rejected"]
    assert {(row["driver"], row["reason"]) for row in told["page"]} == {(row["name"], row["reason"]) for row in listed}
    assert all(row["remedy"] for row in listed), listed
    return {row["name"]: row["reason"] for row in listed}


def _rows(told: dict[str, Any], check: str) -> list[tuple[str, str]]:
    return [(row["state"], row["sentence"]) for row in told["doctor"] if row["check"] == check]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One machine, in the order of cases: the last of them cannot be undone."""
    cases = ("as_it_is", "without_types", "without_types_and_headers")
    return _asked(tmp_path_factory.mktemp("plain"), "auto", *cases)


@pytest.fixture(scope="module")
def unloadable(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _asked(tmp_path_factory.mktemp("kmod"), "kmod,none", "another_versions_module", "modules_disabled")


def test_auto_takes_core_where_it_can(plain: dict[str, Any]) -> None:
    assert plain["as_it_is"]["driver"]["name"] == "core"
    assert plain["as_it_is"]["code"] == 0


def test_auto_takes_bcc_where_the_kernel_does_not_tell_its_types(plain: dict[str, Any]) -> None:
    told = plain["without_types"]
    assert told["driver"]["name"] == "bcc"
    assert "no BTF" in _why(told)["core"]
    assert _rows(told, "btf")[0][0] != "ok"


def test_auto_takes_the_module_where_there_is_nothing_to_compile_with(plain: dict[str, Any]) -> None:
    told = plain["without_types_and_headers"]
    assert told["driver"]["name"] == "kmod"
    assert list(_why(told)) == ["core", "bcc"]
    assert "headers" in _why(told)["bcc"]
    states = [state for state, _ in _rows(told, "headers")]
    assert states[0] == "ok", "the module is built"
    assert states[1] == "warn"


def test_another_versions_module_is_exchanged(unloadable: dict[str, Any]) -> None:
    """Doctor says that it is there; the agent takes it out, as nobody reads from it, and puts its own in."""
    told = unloadable["another_versions_module"]
    assert told["driver"]["name"] == "kmod"
    assert told["loaded"] == told["ours"]
    assert any("another version is loaded" in sentence for _, sentence in _rows(told, "modules"))


def test_modules_that_may_not_be_loaded_any_more(unloadable: dict[str, Any]) -> None:
    told = unloadable["modules_disabled"]
    assert told["driver"]["name"] == "none"
    assert "modules_disabled" in _why(told)["kmod"]
    assert any("switched off until the next boot" in sentence for _, sentence in _rows(told, "modules"))


def test_a_kernel_that_wants_signed_modules(tmp_path: Path) -> None:
    told = _asked(tmp_path, "kmod,none", "as_it_is", words="module.sig_enforce=1")["as_it_is"]
    assert told["driver"]["name"] == "none"
    assert "sign" in _why(told)["kmod"]
    assert any("signed modules only" in sentence for _, sentence in _rows(told, "modules"))


def test_integrity_refuses_the_module_and_not_core(tmp_path: Path) -> None:
    told = _asked(tmp_path, "kmod,core", "as_it_is", words="lockdown=integrity")["as_it_is"]
    assert told["driver"]["name"] == "core"
    assert set(_why(told)) == {"kmod"}
    assert any("unsigned modules are refused, BPF works" in sentence for _, sentence in _rows(told, "lockdown"))


def test_confidentiality_leaves_nothing_but_lists(tmp_path: Path) -> None:
    told = _asked(tmp_path, "auto", "as_it_is", words="lockdown=confidentiality")["as_it_is"]
    assert told["driver"]["name"] == "none"
    assert set(_why(told)) == {"core", "bcc", "kmod"}
    assert any("locked down for confidentiality" in sentence for _, sentence in _rows(told, "lockdown"))
