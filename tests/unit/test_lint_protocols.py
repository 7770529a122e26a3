# SPDX-License-Identifier: Apache-2.0
"""The lint of the parsers: the tree passes, and each thing that it is there to forbid does not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = ROOT / "scripts" / "lint-protocols.py"

FORBIDDEN = {
    "byte = *cursor->at;": "a cursor's pointer",
    "byte = cursor.at[3];": "a cursor's pointer",
    "left = cursor -> end - here;": "a cursor's end",
    "byte = text.start[0];": "a text's pointer",
    "next = text->start + 1;": "a text's pointer",
    "text.length = 100;": "may only shrink",
    "text.length += 4;": "may only shrink",
    "text.length++;": "may only shrink",
    "++in.text.length;": "may only shrink",
    "cursor = (struct fs_cursor){a, b, false};": "out of thin air",
    "cursor = fs_cursor_over(bytes, 5, false);": "only the engine",
    "memcpy(out->text, in, 4);": "raw memory",
    "memmove(a, b, n);": "raw memory",
    "hit = memchr(a, 0, n);": "raw memory",
    "n = strlen(name);": "not terminated",
    "strncpy(a, b, n);": "not terminated",
    "strtoul(a, 0, 10);": "not terminated",
    "sprintf(a, form, b);": "fs_label_",
    "snprintf (a, 5, form, b);": "fs_label_",
    "p = malloc(5);": "never allocates",
    "p = alloca(5);": "raw memory",
    "goto out;": "returning",
    "abort();": "does not end anything",
    "p = (uint8_t *)q;": "pointer types",
    "p = (const struct header *)q;": "pointer types",
    "p = (void *) q;": "pointer types",
    "p = (char **)q;": "pointer types",
    "n = (uintptr_t)q;": "addresses",
    '__asm__("nop");': "plain C11",
    "#pragma pack(1)": "plain C11",
    "#include <string.h>": "the contract's headers",
    '#include "../engine.h"': "include ../protocol.h",
    "static int calls = 0;": "no state",
    "static struct header last;": "no state",
    "extern int calls;": "no state",
}

ALLOWED = [
    "/* memcpy(a, b, n); goto out; text.start[0] */",
    "// strlen(name)",
    'fs_label_literal(out, "goto (char *) strlen(x) \\" text.start");',
    "if (byte == '*' || byte == '\\'') return;",
    "line->length--;",
    "out->length = 5;",
    "label.length = 0;",
    "*out = (struct fs_message){.length = 5, .flags = 1};",
    "static const char *const names[] = {",
    "static bool read_it(struct fs_cursor *bytes, uint8_t *out);",
    "extern const struct fs_protocol fs_protocol_http1;",
    "if (text.length == 5 && at < end) restart = start_message(strategy);",
    '#include "../protocol.h"',
    '#include "http_fields.h"',
    "value = (uint16_t)(high << 8 | low) * (uint16_t)count;",
]


def lint(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(LINT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tree_passes() -> None:
    done = lint()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("line", FORBIDDEN)
def test_what_is_forbidden(line: str, tmp_path: Path) -> None:
    source = tmp_path / "bad.c"
    source.write_text(f"/* two\n lines */\n{line}\nint fine;\n")
    done = lint(source)
    assert done.returncode == 1
    (finding,) = done.stdout.splitlines()
    assert finding.startswith(f"{source}:3: ")
    assert FORBIDDEN[line] in finding


def test_what_is_allowed(tmp_path: Path) -> None:
    source = tmp_path / "good.c"
    source.write_text("\n".join(ALLOWED) + "\n")
    done = lint(source)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_place_is_told(tmp_path: Path) -> None:
    source = tmp_path / "bad.c"
    source.write_text("goto out;\n\nmemcpy(cursor->at, b, n);\n")
    done = lint(source)
    assert [line.split(":")[1] for line in done.stdout.splitlines()] == ["1", "3", "3"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = lint(tmp_path / "none.c")
    assert done.returncode == 2
    assert "none.c: No such file or directory" in done.stderr
