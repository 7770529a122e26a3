# SPDX-License-Identifier: Apache-2.0
"""Names of a recording that is being played: what a reading shows is named by that same reading."""

from analyzers.resolver import NOT_FOUND_INTERNAL
from analyzers.rows import RequestRow, Role, TcpRow
from analyzers.table import SampleBatch
from collector.recorded_names import RecordedNames, RecordedRows
from collector.table_view import TableView
from exporters.settings import MetricsSettings
from tests.rows import request_row, tcp_row


class _Growing:
    """A table that has one row more at each reading, as while the engine still reads the file."""

    def __init__(self, *rows: RequestRow | TcpRow) -> None:
        self._rows = list(rows)
        self._shown = 0

    def _next(self) -> list[RequestRow | TcpRow]:
        self._shown += 1
        return self._rows[: self._shown]

    def requests(self) -> list[RequestRow]:
        return [row for row in self._next() if isinstance(row, RequestRow)]

    def tcp(self) -> list[TcpRow]:
        return [row for row in self._next() if isinstance(row, TcpRow)]

    def samples_since(self, sequence: int) -> SampleBatch:
        return SampleBatch((), sequence, 0)


def test_a_row_is_learned_from_in_the_reading_that_shows_it() -> None:
    table = _Growing(
        request_row(1),
        tcp_row(2),
        request_row(3, Role.SERVER, local_ip="10.0.0.7", local_port=81, remote_ip="10.0.0.8"),
        tcp_row(4, local_ip="10.0.0.8", remote_ip="10.0.0.7", remote_port=81),
    )
    names = RecordedNames()
    view = TableView(RecordedRows(table, names), names, MetricsSettings())
    view.turn(0)
    shown = view.traffic(0)
    assert len(shown.requests) == 2
    assert len(shown.tcp) == 2
    late = next(one for one in shown.tcp if one.row.key.index == 4)
    assert (late.ends.remote.namespace, late.ends.remote.workload_name) == (NOT_FOUND_INTERNAL, "nginx")
