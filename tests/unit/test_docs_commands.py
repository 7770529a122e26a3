# SPDX-License-Identifier: Apache-2.0
"""Every command in the documents is one that exists: against the real parser, make's targets, the configuration's schema,
the chart's values. Those that only look are run as they are written.

A program that no rule here knows is a fault: documents tell nobody to type what was not considered.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from collector import cli, config
from collector.options import Exit
from collector.schema import KEYS
from exporters import registry
from tests.documents import ROOT, SHELLS, Block, Command, blocks, commands, pages
from tests.servers import free_port

PAGES: Final = pages()
BLOCKS: Final = [block for page in PAGES for block in blocks(page)]
LANGUAGES: Final = SHELLS | {
    "",
    "text",
    "yaml",
    "json",
    "ini",
    "promql",
    "c",
    "python",
    "toml",
    "mermaid",
    "dockerfile",
}
# Of other people: what they are is for their own documents to say. Each is in some Debian package or a cluster's tools.
OTHERS: Final = frozenset(
    {
        "apt-get",
        "cat",
        "cd",
        "cp",
        "docker",
        "dnf",
        "echo",
        "export",
        "git",
        "grep",
        "install",
        "journalctl",
        "kill",
        "ls",
    }
    | {"mokutil", "mv", "oc", "pahole", "rm", "rmmod", "rpm", "ssh", "systemctl", "tar", "tcpdump", "uname", "sysctl"}
    | {"jq", "head", "less", "podman", "promtool", "sleep", "wsl", "npm", "npx", "openssl", "modprobe", "dkms", "watch"}
)
_KUBECTL: Final = frozenset(
    {
        "apply",
        "annotate",
        "cluster-info",
        "config",
        "cp",
        "create",
        "delete",
        "describe",
        "exec",
        "expose",
        "get",
        "label",
    }
    | {
        "logs",
        "patch",
        "port-forward",
        "rollout",
        "run",
        "scale",
        "set",
        "top",
        "version",
        "wait",
        "api-resources",
        "auth",
    }
)
_HELM: Final = frozenset(
    {"install", "upgrade", "uninstall", "template", "list", "repo", "get", "rollback", "show", "lint"}
)
SECTIONS: Final = frozenset(row.path[0] for row in KEYS)
# What a section's name is the first word of, and no key: modules.
ENDINGS: Final = (".py", ".c", ".h", ".md", ".yaml", ".json")
_MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
_TARGETS: Final = frozenset(
    word for line in re.findall(r"^([a-z][a-z -]*):", _MAKEFILE, re.MULTILINE) for word in line.split()
)

Fault = str | None


def of_firesteel(command: Command) -> Fault:
    """The real parser's word, and the schema's for each --set."""
    try:
        given = cli._parser().parse_args(command.words[1:])
    except SystemExit as ended:
        return None if ended.code == 0 else f"the parser refuses it with {ended.code}"
    return setting_fault(tuple(getattr(given, "set", ())))


def setting_fault(settings: tuple[str, ...], text: bytes = b"") -> Fault:
    try:
        config.parse(text, config.Source(Path("the document"), False, settings))
    except config.ConfigError as error:
        return str(error)
    return None


def of_make(command: Command) -> Fault:
    for word in (*command.words[1:], *command.variables):
        name, is_variable, _ = word.partition("=")
        if is_variable:
            if name not in _MAKEFILE and not any(name in path.read_text() for path in (ROOT / "scripts").glob("*.sh")):
                return f"{name} means nothing to the Makefile and its scripts"
        elif word.startswith("-"):
            continue
        elif word not in _TARGETS:
            return f"there is no target {word}"
    return None


def of_script(command: Command) -> Fault:
    """A file of this repository: it is there, can be run, and knows the options."""
    path = ROOT / command.words[0]
    if not os.access(path, os.X_OK):
        return f"{path.relative_to(ROOT)} is not there or cannot be run"
    text = path.read_text(encoding="utf-8")
    unknown = [word for word in command.words[1:] if word.startswith("--") and word.partition("=")[0] not in text]
    return f"{command.words[0]} does not know {unknown}" if unknown else None


def of_python(command: Command) -> Fault:
    words = command.words[1:]
    if words[:1] == ("-m",):
        return None if find_spec(words[1]) else f"there is no module {words[1]}"
    return None if words and (ROOT / words[0]).exists() else "neither a module nor a file of this repository"


def of_shell(command: Command) -> Fault:
    return None if (ROOT / command.words[1]).is_file() else f"there is no file {command.words[1]}"


def of_kubectl(command: Command) -> Fault:
    words = command.words[1:]
    while words[:1] in {("-n",), ("--namespace",), ("--context",)}:
        words = words[2:]
    if words[:1] == ("firesteel",):
        return of_plugin(words[1:])
    if not words or words[0] not in _KUBECTL:
        return f"kubectl knows no {words[:1]}"
    if "--" in words:
        inner = words[words.index("--") + 1 :]
        return fault_of(Command(inner, (), command.line, command.place))
    return files_fault(words)


def of_plugin(words: tuple[str, ...]) -> Fault:
    """kubectl firesteel: its own help is asked, for each of its commands is one."""
    plugin = ROOT / "deploy" / "kubectl" / "kubectl-firesteel"
    if not plugin.exists():
        return "deploy/kubectl/kubectl-firesteel is not there"
    asked = [str(plugin), *words[:1], "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        return f"kubectl firesteel {' '.join(words[:1])} --help: {done.stderr}"
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in done.stdout]
    return f"kubectl firesteel {words[0]} does not know {unknown}" if unknown else None


def of_helm(command: Command) -> Fault:
    words = command.words[1:]
    if not words or words[0] not in _HELM:
        return f"helm knows no {words[:1]}"
    values = yaml.safe_load((ROOT / "deploy/helm/firesteel/values.yaml").read_text(encoding="utf-8"))
    for option, value in itertools.pairwise(words):
        if option in {"--set", "--set-string"}:
            for setting in value.split(","):
                if fault := value_fault(values, setting.partition("=")[0]):
                    return fault
    return files_fault(words)


def value_fault(values: Any, name: str) -> Fault:
    """A value's name, `a.b[0].c`, in the chart's values. Below an empty mapping or list anything goes."""
    for part in re.sub(r"\[\d+\]", "", name).split("."):
        if not values:
            return None
        if not isinstance(values, dict) or part not in values:
            return f"the chart has no value {name}"
        values = values[part]
    return None


def files_fault(words: tuple[str, ...]) -> Fault:
    """Whatever looks like a path of this repository is one."""
    for word in words:
        path = word.partition("=")[2] or word
        ours = path.startswith(("deploy/", "docs/", "scripts/", "grafana-plugin/")) and "NAME" not in path
        if ours and not (ROOT / path).exists():
            return f"there is no {path}"
    return None


RULES: Final[dict[str, Callable[[Command], Fault]]] = {
    "firesteel": of_firesteel,
    "make": of_make,
    "python": of_python,
    "python3": of_python,
    "bash": of_shell,
    "kubectl": of_kubectl,
    "helm": of_helm,
    # Run by test_what_only_looks_is_run.
    "curl": lambda command: None,
}


def fault_of(command: Command) -> Fault:
    if (rule := RULES.get(command.program)) is not None:
        return rule(command)
    if "/" in command.words[0] and not command.words[0].startswith("/"):
        if command.words[0].startswith(".venv/bin/"):
            return None if (ROOT / command.words[0]).exists() else f"{command.words[0]} is in no requirements"
        return of_script(command)
    if command.program in OTHERS:
        return files_fault(command.words)
    return f"no rule of this test knows {command.program}"


def shell_blocks() -> Iterator[Block]:
    """Those that say so, and those without a language that begin as a shell's would."""
    known = RULES.keys() | OTHERS | {"sudo"}
    for block in BLOCKS:
        if block.language in SHELLS:
            yield block
        elif not block.language:
            first = [line.split()[0].removeprefix(".venv/bin/") for line in block.text.splitlines() if line.strip()]
            if first and (first[0] in known or first[0].startswith("scripts/")):
                yield block


COMMANDS: Final = [command for block in shell_blocks() for command in commands(block)]


def named(command: Command) -> str:
    return f"{command.place} {' '.join(command.words[:3])}"


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


# --- run ---------------------------------------------------------------------------------------------------------


@contextmanager
def shown() -> Iterator[tuple[int, int]]:
    """The bundled recording, served as an agent does: (metrics port, API port)."""
    metrics, api = free_port(), free_port()
    command = [str(Path(sys.executable).parent / "firesteel"), "replay", "tests/recordings/demo.fsrec", "--serve"]
    command += ["--set", f"listen.metrics=127.0.0.1:{metrics}", "--set", f"listen.api=127.0.0.1:{api}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{api}/api/v1/status", timeout=5) as answer:
                    if json.load(answer)["engine"]["state"] == "finished":
                        break
            except (OSError, ValueError):
                pass
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        yield metrics, api
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    with shown() as made:
        yield made


def runnable(command: Command) -> bool:
    """Whether it only looks, and at nothing but this repository and an agent that shows itself on this machine."""
    words = command.words[1:]
    if command.program == "curl":
        return bool(re.search(r"(localhost|127\.0\.0\.1):950[01]/", command.line))
    if command.program == "firesteel":
        return words[:1] in {("version",), ("status",), ("top",), ("explain",)} and "--url" not in words
    return command.program == "make" and words in {(), ("help",)}


LOOKS: Final = [command for command in COMMANDS if runnable(command)]


def test_there_is_something_to_run() -> None:
    run = {command.program for command in LOOKS}
    assert run >= {"curl", "firesteel"}


@pytest.mark.parametrize("command", LOOKS, ids=named)
def test_what_only_looks_is_run(command: Command, ports: tuple[int, int]) -> None:
    """As it is written, but for the ports, for `top`, which goes on until somebody leaves it, and for what a stream shows."""
    metrics, api = ports
    words = [re.sub(r":950([01])/", lambda found: f":{(metrics, api)[int(found[1])]}/", word) for word in command.words]
    if command.program == "curl":
        words += ["--fail", "--max-time", "20"]
    elif command.program == "firesteel":
        words[0] = str(Path(sys.executable).parent / "firesteel")
        words += ["--once"] if words[1] == "top" and "--once" not in words else []
    settings = {"FIRESTEEL_LISTEN__API": f"127.0.0.1:{api}", "FIRESTEEL_LISTEN__METRICS": f"127.0.0.1:{metrics}"}
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | settings, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    # `status` of a recording answers 1: something is always lost or off there, and told.
    allowed = {Exit.DONE, Exit.NOT_AS_WISHED} if words[1] == "status" else {Exit.DONE}
    assert done.returncode in allowed, done.stdout + done.stderr
    assert done.stdout
