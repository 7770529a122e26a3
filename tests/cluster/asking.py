# SPDX-License-Identifier: Apache-2.0
"""A client in a pod that asks at once whom it is told to: no interpreter has to start between a change and the requests after it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.cluster.shop import Pod

_ASK_WHOM = """
import http.client, sys
for line in sys.stdin:
    address, port = line.split()
    c = http.client.HTTPConnection(address, int(port), timeout=10)
    c.request("GET", "/orders"); print(c.getresponse().status, flush=True); c.close()
"""


@contextmanager
def asking(pod: Pod) -> Iterator[Callable[..., int]]:
    """One process of that pod; `ask(address, port=80)` makes a connection and a request, and answers its status."""
    command = [*next(iter(pod.prefixes.values())), sys.executable, "-c", _ASK_WHOM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        to, answers = process.stdin, process.stdout

        def ask(address: str, port: int = 80) -> int:
            to.write(f"{address} {port}\n")
            to.flush()
            return int(answers.readline())

        try:
            yield ask
        finally:
            to.close()
