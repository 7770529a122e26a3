# SPDX-License-Identifier: Apache-2.0
"""Sees to it that the parsers read payload through analyzers/native/cursor.h and in no other way.

    python scripts/lint-protocols.py [files...]

Without files it reads every .c and .h in analyzers/native/protocols. What strangers sent is reachable there only as
`struct fs_cursor` and `struct fs_text`; whoever does not touch the pointers inside them cannot read outside of them.
Each finding is one line, `file:line: what, and what to do instead`; the exit status is 1 if there is any.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

PROTOCOLS = Path(__file__).resolve().parent.parent / "analyzers" / "native" / "protocols"

_THROUGH_CURSOR = "read through fs_peek, fs_u8, fs_take and their kin"

RULES: tuple[tuple[str, str], ...] = (
    (r"(->|\.)\s*at\b", f"a cursor's pointer: {_THROUGH_CURSOR}"),
    (r"(->|\.)\s*end\b", "a cursor's end: ask fs_left"),
    (r"(->|\.)\s*start\b", f"a text's pointer: go through fs_inside and {_THROUGH_CURSOR}"),
    (r"[\w\])]\s*\.\s*length\s*(=(?![=])(?!\s*0\s*;)|\+=|\+\+)", "a text may only shrink: take it with fs_take"),
    (r"\+\+\s*\w+(\.\w+)*\.length", "a text may only shrink: take it with fs_take"),
    (r"\(\s*struct\s+fs_(cursor|text)\s*\)\s*\{", "a cursor or text out of thin air: use fs_inside or fs_take"),
    (r"\bfs_cursor_over\s*\(", "only the engine makes a cursor over memory: use fs_inside"),
    (r"\b(mem(cpy|move|set|chr|rchr|cmp|ccpy|mem)|bcopy|bzero|alloca)\s*\(", f"raw memory: {_THROUGH_CURSOR}"),
    (r"\b(str|stp|wcs)[a-z]+\s*\(", f"payload is not terminated: {_THROUGH_CURSOR}"),
    (r"\b(v?s?n?printf|v?f?printf|v?asprintf|s?scanf|atoi|atol|atoll|atof)\s*\(", "write labels with fs_label_*"),
    (r"\b(malloc|calloc|realloc|reallocarray|free|aligned_alloc|posix_memalign|mmap)\s*\(", "a parser never allocates"),
    (r"\bgoto\b", "leave loops by returning: a jump hides which bounds were checked"),
    (r"\b(setjmp|longjmp|abort|exit|_exit)\s*\(", "a parser answers FS_FRAME_INVALID, it does not end anything"),
    (
        r"\(\s*(const\s+|volatile\s+|unsigned\s+|signed\s+|struct\s+|union\s+|enum\s+)*\w+\s*(const\s*)?\*+\s*\)",
        "no casts to pointer types",
    ),
    (r"\b(u?intptr_t|ptrdiff_t)\b", "no arithmetic with addresses"),
    (r"\b__asm__\b|\basm\b|#\s*pragma\b|__attribute__", "plain C11 only"),
    (r"^\s*#\s*include\s*<", "the contract's headers bring what a parser needs"),
    (
        r'^\s*#\s*include\s*"(?!\.\./(cursor|protocol)\.h"|[a-z0-9_]+\.h")',
        "include ../protocol.h, ../cursor.h or a neighbour",
    ),
    (
        r"\b(static|extern)\s+(?!const\b)(?![^;={]*\bconst\b)(?!inline\b)[^;={()]+(=|;)",
        "no state but the scratch of the connection",
    ),
)
_COMPILED = tuple((re.compile(pattern), advice) for pattern, advice in RULES)
_NOT_CODE = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)


def _blank(match: re.Match[str]) -> str:
    """A comment or literal as spaces, so that lines and columns stay where they are."""
    return re.sub(r"[^\n]", " ", match.group())


def code_of(text: str) -> str:
    """C without its comments and literals; names in #include lines stay."""
    lines = _NOT_CODE.sub(_blank, text).splitlines()
    originals = text.splitlines()
    return "\n".join(
        original if re.match(r"\s*#\s*include\b", original) and line.strip() else line
        for line, original in zip(lines, originals, strict=True)
    )


def findings(path: Path) -> Iterator[str]:
    """One line of text for each place in `path` that breaks a rule. OSError if it cannot be read."""
    for number, line in enumerate(code_of(path.read_text(encoding="utf-8")).splitlines(), 1):
        for pattern, advice in _COMPILED:
            if pattern.search(line):
                yield f"{path}:{number}: {advice}"


def main(arguments: list[str]) -> int:
    paths = [Path(argument) for argument in arguments] or sorted(PROTOCOLS.glob("*.[ch]"))
    if not paths:
        print(f"lint-protocols: no C files in {PROTOCOLS}", file=sys.stderr)
        return 2
    found: list[str] = []
    for path in paths:
        try:
            found += findings(path)
        except OSError as error:
            print(f"lint-protocols: {path}: {error.strerror}", file=sys.stderr)
            return 2
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
