# SPDX-License-Identifier: Apache-2.0
"""The engine with the two protocols of toy_protocols.c, whose messages say what their parser answers."""

import importlib.machinery
import importlib.util
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

from analyzers.native import build_ffi
from tests.parsing import Body, Flag, Protocol

_MODULE = "analyzers._toy"
_TARGET = build_ffi.ROOT / "build" / f"_toy{sysconfig.get_config_var('EXT_SUFFIX')}"
_PROTOCOLS = Path(__file__).with_name("toy_protocols.c")


@cache
def native() -> Any:
    """The module, built if it is not newer than its sources."""
    # websocket.c belongs to the engine: it follows how such a conversation ends.
    engine = [path for path in build_ffi.sources() if path.parent == build_ffi.NATIVE or path.name == "websocket.c"]
    files = [*engine, _PROTOCOLS]
    if not build_ffi.is_current(_TARGET, files):
        _TARGET.parent.mkdir(exist_ok=True)
        build_ffi.build(_MODULE, _TARGET, files)
    loader = importlib.machinery.ExtensionFileLoader(_MODULE, str(_TARGET))
    spec = importlib.util.spec_from_file_location(_MODULE, _TARGET, loader=loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def message(
    kind: str,
    text: str = "",
    *,
    number: int = 0,
    flags: Flag = Flag.NONE,
    status: int = 0,
    protocol: Protocol = Protocol.NOSUPPORT,
    body: Body = Body.DONE,
) -> bytes:
    """One message; what follows a `;` in the text is no label."""
    return f"{kind}{number:04x}{flags:03x}{status:02x}{protocol:x}{body:x}{len(text):04x}{text}".encode()
