# SPDX-License-Identifier: Apache-2.0
"""The hooks by column, as a table for people: `python -m probes.hook_columns` prints the one in docs/drivers.md."""

from collections.abc import Iterator

from probes.hooks import HOOKS, Hook, HookSet


def _range(hook: Hook) -> str:
    """From and before which release, where that is not always."""
    parts = []
    if hook.since is not None:
        parts.append("from {}.{}".format(*hook.since))
    if hook.until is not None:
        parts.append("before {}.{}".format(*hook.until))
    return f" ({', '.join(parts)})" if parts else ""


def rows() -> Iterator[tuple[str, ...]]:
    """Purpose, the hooks of each column, and what is lost without them (empty: they are required)."""
    purposes = dict.fromkeys(hook.purpose for hook in HOOKS)
    for purpose in purposes:
        hooks = [hook for hook in HOOKS if hook.purpose == purpose]
        cells = []
        for hook_set in HookSet:
            names = dict.fromkeys(
                f"{hook.attach.value} `{hook.name}`{_range(hook)}" for hook in hooks if hook_set in hook.sets
            )
            cells.append(", ".join(names) or "-")
        needed = all(hook.required for hook in hooks)
        loses = next((hook.loses for hook in hooks if hook.loses), "nothing else")
        yield purpose, *cells, "required" if needed else loses


def table() -> str:
    """GitHub Markdown."""
    head = ("What", *(hook_set.value for hook_set in HookSet), "Without it")
    lines = [head, tuple("---" for _ in head), *rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    print(table(), end="")
