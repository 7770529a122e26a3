# SPDX-License-Identifier: Apache-2.0
"""Whether a command in a document is one that exists: by the real parser, make's targets, the configuration's schema, the
chart's values and the files of this repository. `fault_of` says what is wrong with it, None if nothing is.

A program that no rule here knows is a fault: documents tell nobody to type what was not considered.
"""

import itertools
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import yaml

from collector import cli, config
from collector.schema import KEYS
from scripts.values_schema import OF_AGENTS
from tests.documents import ROOT, SHELLS, Block, Command, blocks, commands, pages

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
        "edit",
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
HELM: Final = ROOT / "build" / "bin" / "helm"
"""Made by make helm. Without it, values are held against values.yaml alone."""
KUBERNETES: Final = ("--kube-version", "1.37.0")
"""For `helm template`, which asks no cluster: a Helm that Go built takes 1.20 for it, where published ones have that of their day."""
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
    scripts = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "scripts").glob("*.sh")))
    for word in (*command.words[1:], *command.variables):
        name, is_variable, _ = word.partition("=")
        if is_variable:
            if not re.search(rf"\b{name}\b", _MAKEFILE + scripts):
                return f"{name} means nothing to the Makefile and its scripts"
        elif not word.startswith("-") and word not in _TARGETS:
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
    return files_fault(words) or (rendered(words) if HELM.exists() and words[0] in {"install", "upgrade"} else None)


def rendered(words: tuple[str, ...]) -> Fault:
    """The chart with the options of an installation, as Helm renders it where no cluster is."""
    passed = [word for word in words[1:] if word not in {"--create-namespace", "--reuse-values", "--wait", "--install"}]
    done = subprocess.run(
        [str(HELM), "template", *passed, *KUBERNETES], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        return done.stderr
    kinds = {document["kind"] for document in yaml.safe_load_all(done.stdout) if document}
    return None if "DaemonSet" in kinds else f"it renders no DaemonSet but {sorted(kinds)}"


def value_fault(values: Any, name: str) -> Fault:
    """A value's name, `a.b[0].c`, in the chart's values. Below an empty mapping or list anything goes; config has the configuration's keys."""
    top, _, key = name.partition(".")
    if top == "config" and key:
        known = any(row.name == key and row.path not in OF_AGENTS for row in KEYS)
        return None if known else f"the chart takes no key {key} of the configuration"
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
