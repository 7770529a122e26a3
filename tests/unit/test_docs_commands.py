# SPDX-License-Identifier: Apache-2.0
"""Every command in the documents is one that exists (tests/command_rules.py), and so are keys, values and metrics in their text.
Those that only look are run by tests/unit/test_docs_run.py."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from collector.schema import KEYS
from exporters import registry
from tests.command_rules import (
    BLOCKS,
    COMMANDS,
    ENDINGS,
    LANGUAGES,
    PAGES,
    RULES,
    SECTIONS,
    fault_of,
    named,
    setting_fault,
)
from tests.documents import ROOT, Block, Command, commands

FAULTY: Final = (
    "firesteel stats",
    "firesteel top --sort size",
    "sudo .venv/bin/firesteel run --set ring.sise=8MiB",
    "firesteel run --set ring.size=7MiB | less",
    "make tests",
    "make test TEST=tests/unit",
    "scripts/build.sh",
    "scripts/recompile-module.sh --kernels 5.10",
    "python -m tests.machine run",
    "kubectl firesteel frobnicate",
    "kubectl aply -f deploy/manifests/firesteel.yaml",
    "kubectl apply -f deploy/manifests/all.yaml",
    "kubectl -n firesteel exec ds/firesteel-core -- firesteel stat",
    "helm install firesteel deploy/helm/firesteel --set global.registry=example.com",
    "helm install firesteel deploy/helm/firesteel --set config.listen.apy=off",
    "helm install firesteel deploy/helm/firesteel --set config.listen.metrics=:9600",
    "unheard-of --option",
)


@pytest.mark.parametrize("line", FAULTY)
def test_a_faulty_command_is_seen(line: str) -> None:
    found = commands(Block(ROOT / "README.md", 1, "sh", line + "\n"))
    assert any(fault_of(command) for command in found)


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_a_command_is_one_that_exists(command: Command) -> None:
    assert fault_of(command) is None, f"{command.place}: {command.line}"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES
    if block.language == "json":
        json.loads(block.text)


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda block: block.place
)
def test_yaml_is_our_configuration_or_at_least_yaml(block: Block) -> None:
    """What has only keys of ours is read as the agent would; the rest may be Kubernetes', Grafana's or Prometheus'."""
    documents = list(yaml.safe_load_all(block.text))
    keys = {key for document in documents for key in document}
    if keys <= SECTIONS:
        assert setting_fault((), block.text.encode()) is None, block.place


INLINE: Final = re.compile(r"`([^`\n]+)`")
# Settings of the kernel, whose first word is a section of ours as well.
_SYSCTLS: Final = frozenset({"kernel.bpf_stats_enabled", "kernel.modules_disabled"})
_METRIC: Final = re.compile(r"\b(?:kindling|firesteel)_[a-z0-9_]+")
# Names that begin like a metric of ours: modules, programs and containers, and metrics of the panel's own queries.
NOT_METRICS: Final = frozenset({"firesteel_rules", "kubectl_firesteel"})
_SUFFIXES: Final = ("_bucket", "_sum", "_count", "_created")


def inline(page: Path) -> Iterator[str]:
    """Every `piece of code` in running text."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    yield from INLINE.findall(text)


def spoken(code: str) -> str:
    """A command in running text as somebody could type it; nothing where it is none, or a form: `firesteel record [options] FILE`."""
    words = code.removeprefix("sudo ").split()
    known = words and (words[0] in RULES or words[0].startswith(("scripts/", ".venv/bin/")))
    if not known or len(words) < 2 or "[" in code or words[0] == "helm":
        return ""
    # One that is only named lacks what it is to be given.
    return f"{code} --help" if words[0] == "firesteel" and len(words) == 2 else code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_in_the_text_is_one_that_exists(page: Path) -> None:
    lines = "".join(f"{line}\n" for line in map(spoken, inline(page)) if line)
    found = commands(Block(page, 1, "sh", lines))
    assert [(command.line, fault) for command in found if (fault := fault_of(command))] == []


def test_a_faulty_command_in_the_text_is_seen() -> None:
    told = [
        spoken(code)
        for code in ("sudo firesteel stats", "make tests", "kubectl aply -f x.yaml", "scripts/build.sh all")
    ]
    assert all(fault_of(command) for command in commands(Block(ROOT / "README.md", 1, "sh", "\n".join(told) + "\n")))
    assert [spoken(code) for code in ("firesteel", "ring.size", "firesteel record [options] FILE")] == ["", "", ""]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_keys_and_values_in_the_text_are_the_schemas(page: Path) -> None:
    """`metrics.detail: workload` and `metrics.detail=workload` are read by the schema, `metrics.detail` is one of its keys."""
    faults: list[str] = []
    for code in inline(page):
        found = re.fullmatch(r"([a-z]+(?:\.[a-z_]+)+)(?:(: |=)([^…]+))?", code)
        if not found or found[1].split(".")[0] not in SECTIONS or found[1].endswith(ENDINGS) or found[1] in _SYSCTLS:
            continue
        name, _, value = found.groups()
        known = [
            row
            for row in KEYS
            if row.name == name or row.name.startswith(name + ".") or name.startswith(row.name + ".")
        ]
        if not known:
            faults.append(f"{name} is no key")
        elif value and not value.isupper() and (fault := setting_fault((f"{name}={value}",))):
            faults.append(fault)
    assert faults == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_metrics_in_the_text_are_the_registrys(page: Path) -> None:
    names = {metric.name.replace("{prefix}", "kindling") for metric in registry.METRICS}
    text = page.read_text(encoding="utf-8")
    unknown = {
        name
        for name in _METRIC.findall(text)
        if name not in names | NOT_METRICS and not any(name.removesuffix(suffix) in names for suffix in _SUFFIXES)
    }
    assert unknown == set()
