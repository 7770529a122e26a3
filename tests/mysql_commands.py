# SPDX-License-Identifier: Apache-2.0
"""Commands of MySQL's protocol that PyMySQL's interface does not have, over its connections: prepared statements and
their kin. PyMySQL itself puts values into the text of statements."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PROCESS_INFO, STATISTICS, FIELD_LIST, DEBUG = 0x0A, 0x09, 0x04, 0x0D
PREPARE, EXECUTE, LONG_DATA, CLOSE, RESET, SET_OPTION, FETCH = 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C
RESET_CONNECTION = 0x1F
_MORE_RESULTS, _CURSOR = 0x0008, 0x0040
_TEXT = 0xFD


@dataclass(frozen=True, slots=True)
class Statement:
    number: int
    columns: int
    parameters: int


def _until_eof(connection: Any) -> int:
    """Reads packets up to an EOF packet; how many there were, and its status."""
    count = 0
    while True:
        packet = connection._read_packet()
        if packet.is_eof_packet():
            return count
        count += 1


def command(connection: Any, number: int, argument: bytes = b"") -> Any:
    """Sends a command and reads one packet, which must be no error."""
    connection._execute_command(number, argument)
    return connection._read_packet()


def silent_command(connection: Any, number: int, argument: bytes = b"") -> None:
    """Sends a command that is not answered."""
    connection._execute_command(number, argument)


def prepare(connection: Any, statement: str) -> Statement:
    packet = command(connection, PREPARE, statement.encode())
    number, columns, parameters = struct.unpack_from("<IHH", packet.get_all_data(), 1)
    for group in (parameters, columns):
        if group:
            assert _until_eof(connection) == group
    return Statement(number, columns, parameters)


def execute(connection: Any, statement: Statement, values: Sequence[str] = (), *, cursor: bool = False) -> int:
    """Runs a statement with text for its parameters; how many rows it gave. With a cursor the rows stay there."""
    assert len(values) == statement.parameters
    argument = struct.pack("<IBI", statement.number, 1 if cursor else 0, 1)
    if values:
        argument += bytes((len(values) + 7) // 8) + b"\x01" + struct.pack("<H", _TEXT) * len(values)
        argument += b"".join(bytes([len(value)]) + value.encode() for value in values)
    data = command(connection, EXECUTE, argument).get_all_data()
    if data[0] == 0:
        return 0
    assert _until_eof(connection) == data[0]
    return 0 if cursor else _until_eof(connection)


def fetch(connection: Any, statement: Statement, rows: int) -> int:
    connection._execute_command(FETCH, struct.pack("<II", statement.number, rows))
    return _until_eof(connection)


def reset(connection: Any, statement: Statement) -> None:
    command(connection, RESET, struct.pack("<I", statement.number))


def close(connection: Any, statement: Statement) -> None:
    silent_command(connection, CLOSE, struct.pack("<I", statement.number))


def fields(connection: Any, table: str) -> int:
    connection._execute_command(FIELD_LIST, table.encode() + b"\0")
    return _until_eof(connection)
