# SPDX-License-Identifier: Apache-2.0
"""Single values of the shared table as Python has them. A number that this version does not know is no error."""

from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any, Final, cast

from analyzers._native import ffi
from analyzers.contract import PROTOCOLS, VERBS
from analyzers.rows import Role

_V4_MAPPED: Final = bytes(10) + b"\xff\xff"


def address_text(address: bytes) -> str:
    """16 bytes as text: v4-mapped dotted, IPv6 compressed, nothing known `::`."""
    if address[:12] == _V4_MAPPED:
        return inet_ntop(AF_INET, address[12:])
    return inet_ntop(AF_INET6, address)


def role_of(number: int) -> Role:
    """By enum fs_role."""
    return Role(number) if number in (1, 2) else Role.UNKNOWN


def protocol_of(number: int) -> str:
    """Label value by enum fs_protocol_id."""
    return PROTOCOLS[number] if number < len(PROTOCOLS) else PROTOCOLS[0]


def method_of(number: int) -> str:
    """Method of HTTP by enum fs_verb; empty for any other one."""
    return VERBS[number] if number < len(VERBS) else ""


def char_text(array: Any, length: int | None = None) -> str:
    """A char array up to its terminator, or exactly `length` bytes of it."""
    raw = ffi.string(array, len(array)) if length is None else ffi.buffer(array)[:length]
    return cast("bytes", raw).decode("utf-8", "replace")


def octets_hex(array: Any) -> str:
    """Lower-case hexadecimal; empty if all bytes are zero, as in an id that was not sent."""
    raw = bytes(array)
    return raw.hex() if any(raw) else ""
