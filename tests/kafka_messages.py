# SPDX-License-Identifier: Apache-2.0
"""Messages of Kafka in every version, made of Kafka's own definitions (which kafka-python brings along) and of dice."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from kafka.protocol.schemas.load_json import load_json

TOPIC_ID = bytes(range(1, 17))
_NEWEST = 99
_SIZES = {"int8": 1, "bool": 1, "int16": 2, "uint16": 2, "int32": 4, "float32": 4, "int64": 8, "float64": 8}


def definitions() -> Iterator[tuple[Any, Any]]:
    """Of each API its request and its response."""
    folder = files("kafka.protocol.schemas.resources")
    names = sorted(
        entry.name.removesuffix("Request.json") for entry in folder.iterdir() if "Request.json" in entry.name
    )
    for name in names:
        request = load_json(f"{name}Request")
        if request["validVersions"] != "none":
            yield request, load_json(f"{name}Response")


def versions(text: str) -> range:
    """ "3+", "0-2" and "4" as the definitions mean it."""
    if text == "none":
        return range(0)
    first, _, last = text.partition("-")
    if text.endswith("+"):
        return range(int(text[:-1]), _NEWEST)
    return range(int(first), int(last or first) + 1)


def varint(value: int) -> bytes:
    made = b""
    while value >= 0x80:
        made += bytes([value & 0x7F | 0x80])
        value >>= 7
    return made + bytes([value])


@dataclass(slots=True)
class Encoder:
    """Writes a body. Error codes are 0 but for the one of this number, which is 1000 + its number; `errors` counts them."""

    definition: Any
    version: int
    dice: random.Random
    failing: int = 0
    errors: int = 0
    topic: str = ""
    topic_id: bool = False
    structs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.structs = {struct_["name"]: struct_ for struct_ in self.definition.get("commonStructs", [])}

    @property
    def flexible(self) -> bool:
        return self.version in versions(self.definition.get("flexibleVersions", "none"))

    def body(self) -> bytes:
        return self._fields(self.definition["fields"])

    def _fields(self, fields: Any) -> bytes:
        made = b"".join(
            self._value(one, one["type"])
            for one in fields
            if self.version in versions(one["versions"])
            and not ("tag" in one and self.version in versions(one["taggedVersions"]))
        )
        if not self.flexible:
            return made
        return made + (varint(1) + varint(7) + varint(3) + b"abc" if self.dice.random() < 0.5 else varint(0))

    def _length(self, length: int, form: str) -> bytes:
        return varint(length + 1) if self.flexible else struct.pack(form, length)

    def _value(self, one: Any, kind: str) -> bytes:
        nullable = self.version in versions(one.get("nullableVersions", "none"))
        if kind.startswith("[]"):
            count = self.dice.choice([1, 2])
            inner = {key: value for key, value in one.items() if key != "nullableVersions"}
            return self._length(count, ">i") + b"".join(self._value(inner, kind[2:]) for _ in range(count))
        if kind == "int16" and one["name"].endswith("ErrorCode"):
            self.errors += 1
            return struct.pack(">h", 1000 + self.errors if self.errors == self.failing else 0)
        if kind == "int16" and one["name"] == "Acks":
            return struct.pack(">h", -1)
        if kind in _SIZES:
            return self.dice.randbytes(_SIZES[kind])
        if kind == "uuid":
            self.topic_id |= one["name"] == "TopicId"
            return TOPIC_ID
        if kind == "string":
            return self._string(one, nullable)
        if kind in {"bytes", "records"}:
            return self._text(nullable, ">i")
        inner = one.get("fields") or self.structs[kind]["fields"]
        if not nullable:
            return self._fields(inner)
        return b"\xff" if self.dice.random() < 0.5 else b"\1" + self._fields(inner)

    def _string(self, one: Any, nullable: bool) -> bytes:
        if one.get("entityType") != "topicName":
            return self._text(nullable, ">h")
        name = f"top.ic_{self.dice.randrange(9)}"
        self.topic = self.topic or name
        return self._length(len(name), ">h") + name.encode()

    def _text(self, nullable: bool, form: str) -> bytes:
        if nullable and self.dice.random() < 0.5:
            return self._length(-1, form)
        text = self.dice.choice([b"", b"x", b"y" * 130])
        return self._length(len(text), form) + text


def request(encoder: Encoder, correlation: int = 77, client: bytes | None = b"me") -> bytes:
    """A whole request: length, header, body."""
    head = struct.pack(">hhi", encoder.definition["apiKey"], encoder.version, correlation)
    head += struct.pack(">h", -1) if client is None else struct.pack(">h", len(client)) + client
    return framed(head + (b"\0" if encoder.flexible else b"") + encoder.body())


def response(encoder: Encoder, correlation: int = 77) -> bytes:
    is_tagged = encoder.flexible and encoder.definition["name"] != "ApiVersionsResponse"
    return framed(struct.pack(">i", correlation) + (b"\0" if is_tagged else b"") + encoder.body())


def framed(message: bytes) -> bytes:
    return struct.pack(">i", len(message)) + message
