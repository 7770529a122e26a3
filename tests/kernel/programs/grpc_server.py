# SPDX-License-Identifier: Apache-2.0
"""A gRPC server of every kind of call: `grpc_server.py PORT`. Messages are raw bytes, so it needs no generated code."""

import sys
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


def get(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Echoes."""
    return request


def fail(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Ends with the status whose number it gets: trailers only, as nothing was sent before."""
    context.abort(CODES[int(request)], "as asked")


def watch(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    """So many messages of so many bytes, then the status: b"3 100 0"."""
    count, size, status = (int(word) for word in request.split())
    for _ in range(count):
        yield bytes(size)
    if status:
        context.abort(CODES[status], "at the end")


def upload(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    """How many bytes came."""
    return str(sum(len(request) for request in requests)).encode()


def chat(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Echoes one by one."""
    yield from requests


def sleep(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Answers after so many seconds."""
    time.sleep(float(request))
    return b"awake"


def serve(port: int) -> Any:
    """A started server on 127.0.0.1."""
    handlers: dict[str, Any] = {
        "Get": grpc.unary_unary_rpc_method_handler(get),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.v1.Orders", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


if __name__ == "__main__":
    serve(int(sys.argv[1])).wait_for_termination()
