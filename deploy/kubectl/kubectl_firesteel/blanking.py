# SPDX-License-Identifier: Apache-2.0
"""Taking secrets out of texts and of objects: by the names beside them, and by what they look like.

Rather too much than too little: of environment variables that are not Firesteel's own no value is kept, whatever they are called.
"""

import re
from typing import Final

BLANK: Final = "(blanked)"
_NAMED: Final = (
    r"authorization|cookie|token|passw(?:or)?d|passphrase|secret|credentials?|(?:api|access|private)[_-]?key"
)
_PATTERNS: Final = (
    # Authorization: Bearer x, and the same in JSON and in YAML.
    re.compile(rf"(?i)((?:{_NAMED})[\"']?\s*[:=]\s*[\"']?)(?!/)[^\s\"',}}]+(?: [\w.~+/=-]{{12,}})?"),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}"),
    re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s:@]+(?::[^/\s@]*)?(?=@)"),
    # JSON Web Tokens, wherever they are.
    re.compile(r"()\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
)  # fmt: skip
# The header fields of an exporter, and a secret whose text begins on the next line.
_SECTION: Final = re.compile(
    rf"(?i)^.*?(?:headers(?:\.[\w-]+)*[\"']?\s*[:=]|(?:{_NAMED})[\"']?\s*:(?=\s*(?:[|>][-+\d]*)?\s*$))"
)
_SECRET_NAME: Final = re.compile(rf"(?i)passw|authorization|cookie|(?:{_NAMED}|headers)s?$")
_WHOLLY: Final = re.compile(r"(?i)passw|authorization|cookie|headers$")
_OUR_VARIABLES: Final = "FIRESTEEL_"
# What says everything twice.
_LEFT_OUT: Final = ("managedFields", "kubectl.kubernetes.io/last-applied-configuration")


def blanked(text: str) -> str:
    """Without tokens, passwords, credentials in URLs, and the header fields of an exporter."""
    text = _without_sections(text)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{BLANK}", text)
    return text


def cleaned(value: object) -> object:
    """An object of the API, a status or a configuration, blanked by its names and text by text."""
    if isinstance(value, list):
        return [cleaned(part) for part in value]
    if not isinstance(value, dict):
        return blanked(value) if isinstance(value, str) else value
    told = {str(name): _part(str(name), part) for name, part in value.items() if name not in _LEFT_OUT}
    # What is told of a named thing: a variable, a header field, a fault of a key.
    if any(isinstance(value.get(of), str) and is_secret(str(value[of])) for of in ("name", "key")):
        told |= {name: BLANK for name in ("value", "message") if value.get(name)}
    return told


def is_secret(name: str) -> bool:
    """Whether what has this name is one: by any part of a dotted key or of a variable's name."""
    return any(_SECRET_NAME.search(part) for part in re.split(r"\.|__", name))


def _part(name: str, part: object) -> object:
    if name == "env" and isinstance(part, list):
        return [cleaned(_without_foreign_value(item)) for item in part]
    if not part or isinstance(part, bool) or not is_secret(name):
        return cleaned(part)
    # An object below "secret" or "token" says where one is (a volume, a reference); one below "headers" has them.
    wholly = any(_WHOLLY.search(piece) for piece in name.split("."))
    if isinstance(part, dict) and not wholly:
        return cleaned(part)
    if isinstance(part, list) and not wholly:
        return [cleaned(item) if isinstance(item, dict) else BLANK for item in part]
    return BLANK


def _without_foreign_value(item: object) -> object:
    if isinstance(item, dict) and item.get("value") and not str(item.get("name", "")).startswith(_OUR_VARIABLES):
        return {**item, "value": BLANK}
    return item


def _without_sections(text: str) -> str:
    """Of a key that holds secrets: not the rest of its line, not the lines below it that are deeper or that its brackets span."""
    kept: list[str] = []
    indent: int | None = None
    open_brackets = 0
    for line in text.splitlines(keepends=True):
        depth = len(line) - len(line.lstrip())
        if indent is not None:
            bare = line.strip()
            if open_brackets > 0 or not bare or depth > indent or (depth == indent and bare.startswith("- ")):
                open_brackets += _opened(line)
                continue
            indent = None
        found = _SECTION.match(line)
        if found is not None:
            indent, open_brackets = depth, _opened(line[found.end() :])
        kept.append(line if found is None else f"{found[0]} {BLANK}\n")
    return "".join(kept)


def _opened(text: str) -> int:
    return sum(text.count(bracket) for bracket in "[{") - sum(text.count(bracket) for bracket in "]}")
