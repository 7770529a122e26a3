# SPDX-License-Identifier: Apache-2.0
"""A client that speaks HTTP/2 without TLS, with as many requests at a time as wished."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events


@dataclass(slots=True)
class Answer:
    status: int = 0
    size: int = 0
    ended: bool = False
    reset: int | None = None
    trailers: Mapping[str, str] = field(default_factory=dict)


class Http2Client:
    """One connection. `answers` are by stream; `sent` and `received` are all bytes, the connection's own included."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._authority = f"{host}:{port}"
        self.answers: dict[int, Answer] = {}
        self.sent = self.received = 0
        self._state.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Sends what is due, in one write."""
        data = self._state.data_to_send()
        self.sent += len(data)
        self._socket.sendall(data)

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
        flush: bool = True,
        end: bool = True,
    ) -> int:
        """Opens a stream; its number. Of a body that is larger than the window, the rest is sent as the server allows."""
        stream = self._state.get_next_available_stream_id()
        pseudo = [(":method", method), (":authority", self._authority), (":scheme", "http"), (":path", path)]
        self._state.send_headers(stream, [*pseudo, *headers], end_stream=body is None and end)
        self.answers[stream] = Answer()
        while body:
            self.flush()
            room = min(self._state.local_flow_control_window(stream), self._state.max_outbound_frame_size)
            if not room:
                self._receive()
                continue
            piece, body = body[:room], body[room:]
            self._state.send_data(stream, piece, end_stream=not body and end)
        if body == b"" and not self._state.streams[stream].closed:
            self._end_if_open(stream, end)
        if flush:
            self.flush()
        return stream

    def _end_if_open(self, stream: int, end: bool) -> None:
        state = self._state.streams[stream].state_machine.state.name
        if end and state in {"OPEN", "HALF_CLOSED_REMOTE"}:
            self._state.end_stream(stream)

    def reset(self, stream: int, code: int = 8) -> None:
        """Gives a request up: RST_STREAM, CANCEL unless told otherwise."""
        self._state.reset_stream(stream, code)
        self.answers[stream].ended = True
        self.flush()

    def wait(self) -> dict[int, Answer]:
        """Until every stream has ended."""
        while not all(answer.ended for answer in self.answers.values()):
            self._receive()
        return self.answers

    def get(self, path: str, **options: object) -> int:
        """One request and its status."""
        stream = self.ask(path, **options)  # type: ignore[arg-type]
        while not self.answers[stream].ended:
            self._receive()
        return self.answers[stream].status

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.received += len(data)
        for event in self._state.receive_data(data):
            self._take(event)
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                fields = {str(name): str(value) for name, value in event.headers or []}
                self.answers[event.stream_id or 0].status = int(fields[":status"])
            case h2.events.DataReceived():
                self.answers[event.stream_id or 0].size += len(event.data or b"")
                self._state.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            case h2.events.StreamEnded():
                self.answers[event.stream_id or 0].ended = True
            case h2.events.StreamReset():
                answer = self.answers[event.stream_id or 0]
                answer.reset, answer.ended = int(event.error_code or 0), True
            case h2.events.ConnectionTerminated():
                raise ConnectionError(f"the server gave up: {event.error_code}")

    def close(self) -> None:
        self._state.close_connection()
        self.flush()
        self._socket.close()


@contextmanager
def http2_client(port: int) -> Iterator[Http2Client]:
    client = Http2Client(port)
    try:
        yield client
    finally:
        client.close()
