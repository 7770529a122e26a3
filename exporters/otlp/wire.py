# SPDX-License-Identifier: Apache-2.0
"""OTLP messages as bytes (https://opentelemetry.io/docs/specs/otlp/, opentelemetry-proto 1.x).

Attributes are made once for each row, by the official classes, and kept as text in which each character is a byte: they
are most of a message. What changes with every push, the point around them, is framed here
(https://protobuf.dev/programming-guides/encoding/): a point takes 10 microseconds this way and 50 through the classes
(docs/decisions/0014-otlp-points-are-framed-by-hand.md). Tests read every message back with the official classes.
"""

import re
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from exporters.labels import VALUE_LIMIT, LabelForm
from exporters.registry_otel import ATTRIBUTES, ValueKind

Value = str | int | float | bool
Attributes = Iterable[tuple[str, Value]]

DELTA: Final = 1
CUMULATIVE: Final = 2

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_LENGTH_DELIMITED: Final = 2
_TIMES: Final = struct.Struct("<BQBQ")  # start_time_unix_nano = 2, time_unix_nano = 3, both fixed64
_INTEGER: Final = struct.Struct("<Bq")  # as_int = 6, sfixed64
_DOUBLE: Final = struct.Struct("<Bd")
_FIXED: Final = struct.Struct("<BQ")


def varint(number: int) -> bytes:
    """A number of at least 0, seven bits a byte, the lowest first."""
    if number < 0x80:
        return bytes((number,))
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def zigzag(number: int) -> bytes:
    """A signed number: sint32."""
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def field(number: int, content: bytes) -> bytes:
    """A field that holds a message, text or bytes."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(content)) + content


def joined(number: int, messages: Iterable[bytes]) -> bytes:
    """A repeated field of messages."""
    return b"".join([field(number, message) for message in messages])


@lru_cache(maxsize=2048, typed=True)
def key_value(name: str, value: Value) -> bytes:
    """One attribute, as a KeyValue message."""
    return KeyValue(key=name, value=_any(value)).SerializeToString()


def attributes(number: int, pairs: Attributes) -> bytes:
    """Attributes as field `number` of a message. An empty text is left out: over OTLP what is not known is not sent."""
    return b"".join([field(number, key_value(name, value)) for name, value in pairs if value != ""])


def _any(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=_SURROGATES.sub("\ufffd", value[:VALUE_LIMIT]))


def of_label(label: str, text: str) -> tuple[str, Value]:
    """A label of the Prometheus page as an attribute."""
    attribute = ATTRIBUTES.get(label)
    if attribute is None:
        return f"firesteel.{label}", text
    return attribute.name, _converted(attribute.words.get(text, text), attribute.kind)


def _converted(text: str, kind: ValueKind) -> Value:
    if kind == "truth":
        return text == "true"
    return int(text) if kind == "number" and text.isdecimal() else text


def _label_attributes(labels: Iterable[tuple[str, str]]) -> str:
    return attributes(NUMBER_ATTRIBUTES, [of_label(label, text) for label, text in labels if text]).decode("latin-1")


NUMBER_ATTRIBUTES: Final = 7
HISTOGRAM_ATTRIBUTES: Final = 9
EXPONENTIAL_ATTRIBUTES: Final = 1
_SCALE: Final = 1  # a base of 2**(2**-1)
ZERO_OCTAVES: Final = 17
ZERO_THRESHOLD: Final = 2.0**-ZERO_OCTAVES
"""Seconds; what is shorter the engine does not tell apart (struct fs_fine in analyzers/native/table.h)."""
POINTS: Final = LabelForm(_label_attributes, "")
"""Rows of attributes: text of which each character is a byte of NumberDataPoint's field 7."""


def number_point(body: bytes, start_ns: int, now_ns: int, value: int | float) -> bytes:  # noqa: PYI041 - two fields
    """A NumberDataPoint; a float goes as a double, an int as sfixed64."""
    told = _DOUBLE.pack(4 << 3 | 1, value) if isinstance(value, float) else _INTEGER.pack(6 << 3 | 1, value)
    return body + _TIMES.pack(2 << 3 | 1, start_ns, 3 << 3 | 1, now_ns) + told


def histogram_point(
    body: bytes, start_ns: int, now_ns: int, counts: Sequence[int], seconds: float, bounds: Sequence[float]
) -> bytes:
    """A HistogramDataPoint: one more count than bounds, not cumulative."""
    return b"".join((
        body,
        _TIMES.pack(2 << 3 | 1, start_ns, 3 << 3 | 1, now_ns),
        _FIXED.pack(4 << 3 | 1, sum(counts)),
        _DOUBLE.pack(5 << 3 | 1, seconds),
        field(6, struct.pack(f"<{len(counts)}Q", *counts)),
        field(7, struct.pack(f"<{len(bounds)}d", *bounds)),
    ))  # fmt: skip


def exponential_point(
    body: bytes, start_ns: int, now_ns: int, zeros: int, offset: int, counts: Sequence[int], seconds: float
) -> bytes:
    """An ExponentialHistogramDataPoint of the engine's fine buckets: `counts[i]` lie above (2**0.5)**(offset + i) and up to
    the next power; `zeros` are at most ZERO_THRESHOLD."""
    positive = varint(1 << 3) + zigzag(offset) + field(2, b"".join(map(varint, counts)))
    return b"".join((
        body,
        _TIMES.pack(2 << 3 | 1, start_ns, 3 << 3 | 1, now_ns),
        _FIXED.pack(4 << 3 | 1, zeros + sum(counts)),
        _DOUBLE.pack(5 << 3 | 1, seconds),
        varint(6 << 3) + zigzag(_SCALE),
        _FIXED.pack(7 << 3 | 1, zeros),
        field(8, positive),
        _DOUBLE.pack(14 << 3 | 1, ZERO_THRESHOLD),
    ))  # fmt: skip


def sum_metric(name: str, unit: str, text: str, points: Iterable[bytes], temporality: int) -> bytes:
    """A Metric of counters."""
    data = joined(1, points) + bytes((2 << 3, temporality, 3 << 3, 1))
    return _metric(name, unit, text) + field(7, data)


def gauge_metric(name: str, unit: str, text: str, points: Iterable[bytes]) -> bytes:
    """A Metric of readings."""
    return _metric(name, unit, text) + field(5, joined(1, points))


def histogram_metric(
    name: str, unit: str, text: str, points: Iterable[bytes], temporality: int, *, exponential: bool
) -> bytes:
    """A Metric of histograms of either form."""
    data = joined(1, points) + bytes((2 << 3, temporality))
    return _metric(name, unit, text) + field(10 if exponential else 9, data)


def _metric(name: str, unit: str, text: str) -> bytes:
    return field(1, name.encode()) + field(2, text.encode()) + field(3, unit.encode())


def resource_block(resource: bytes, scope: bytes, content: bytes, schema_url: str) -> bytes:
    """ResourceMetrics or ResourceSpans (they have the same shape): `content` is field 2 of the scope's message."""
    schema = field(3, schema_url.encode())
    return field(1, resource) + field(2, field(1, scope) + content + schema) + schema
