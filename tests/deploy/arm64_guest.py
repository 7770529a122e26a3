# SPDX-License-Identifier: Apache-2.0
"""The first process of an arm64 machine whose root is one of the images: does what `/orders.json` says, tells it on the console.

Run by the image's own interpreter, with nothing but its standard library and the image's one command. Every answer is a line
`FIRESTEEL ` and base64 of compressed JSON, so that nothing of it is lost between the kernel's own words. Then the machine ends.
"""

import base64
import ctypes
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import traceback
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MOUNTS = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tracefs", "/sys/kernel/tracing"),
    ("securityfs", "/sys/kernel/security"),
)
_SIOCSIFFLAGS, _UP_AND_RUNNING, _POWER_OFF = 0x8914, 0x41, 0x4321FEDC
FIRESTEEL, PYTHON = "/usr/local/bin/firesteel", "/usr/local/bin/python3"
# Behind the first there is something in the full image only.
_PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "NODE_NAME": "a-node", "FIRESTEEL_CONFIG": "/orders/empty.yaml"}
_METRICS, _API, PORT, REFUSED = 9101, 9102, 8000, 9
_LOG = Path("/tmp/agent.log")
_QUIET_SECONDS, _COUNTED_SECONDS = 30.0, 300.0
MISSING, THERE, REFUSALS = 9, 7, 3
"""What the client does: so many 404 and so many 200 on one connection, and so many connections to where nobody listens."""
_SERVER = f"""
import http.server
class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(bytes(100))
http.server.ThreadingHTTPServer(("127.0.0.1", {PORT}), Answers).serve_forever()
"""
_CLIENT = f"""
import http.client, socket, time
end = time.monotonic() + 300
while True:
    client = http.client.HTTPConnection("127.0.0.1", {PORT})
    try: client.connect()
    except ConnectionRefusedError:
        assert time.monotonic() < end
        time.sleep(1)
    else: break
for path, status in [("/missing", 404)] * {MISSING} + [("/there", 200)] * {THERE}:
    client.request("GET", path)
    answer = client.getresponse()
    answer.read()
    assert answer.status == status
client.close()
for _ in range({REFUSALS}):
    with socket.socket() as refused:
        assert refused.connect_ex(("127.0.0.1", {REFUSED})) != 0
"""


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        for kind, place in _MOUNTS:
            Path(place).mkdir(parents=True, exist_ok=True)
            if libc.mount(kind.encode(), place.encode(), kind.encode(), 0, None) != 0:
                tell("mount", place=place, error=ctypes.get_errno())
        # What udev or an engine makes; bash's <(...) is a file there.
        Path("/dev/fd").symlink_to("/proc/self/fd")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
            fcntl.ioctl(some, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP_AND_RUNNING))
        orders = json.loads(Path("/orders/orders.json").read_text())
        tell("machine", uname=list(os.uname()))
        for command in orders["commands"]:
            run(command)
        for program in orders.get("programs", []):
            run(program[1:], program[0])
        for driver, column in orders["drivers"]:
            watch(driver, column)
    except BaseException:  # noqa: BLE001 - the first process may not end
        tell("fault", text=traceback.format_exc())
    sys.stdout.flush()
    time.sleep(1)
    libc.reboot(_POWER_OFF)


def tell(what: str, **answer: object) -> None:
    text = json.dumps({"what": what, **answer}).encode()
    print("FIRESTEEL", base64.b64encode(zlib.compress(text)).decode(), flush=True)


def run(command: list[str], program: str = FIRESTEEL) -> None:
    began = time.monotonic()
    ended = subprocess.run(
        [program, *command], env=_ENVIRONMENT, capture_output=True, text=True, check=False, cwd="/orders"
    )
    tell(
        "run",
        program=program,
        command=command,
        status=ended.returncode,
        output=ended.stdout,
        errors=ended.stderr,
        seconds=round(time.monotonic() - began, 1),
    )


def watch(driver: str, column: str) -> None:
    """An agent with this driver and column of hooks ("": whichever it takes), a server, a client, and what is counted of these."""
    environment = {**_ENVIRONMENT, **({"FIRESTEEL_CORE_COLUMN": column} if column else {})}
    settings = (f"listen.metrics=127.0.0.1:{_METRICS}", f"listen.api=127.0.0.1:{_API}", "metrics.scrape_interval=1s",
                "ring.size=8MiB", f"driver={driver}")  # fmt: skip
    options = [part for setting in settings for part in ("--set", setting)]
    began = time.monotonic()
    server = subprocess.Popen([PYTHON, "-c", _SERVER], env=_ENVIRONMENT, stdin=subprocess.DEVNULL)
    with _LOG.open("wb") as log:
        agent = subprocess.Popen(
            [FIRESTEEL, "run", *options], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    found: dict[str, Any] = {}
    try:
        if waited(lambda: counting() or agent.poll() is not None, 900) and agent.poll() is None:
            found["ready_seconds"] = round(time.monotonic() - began, 1)
            subprocess.run([PYTHON, "-c", _CLIENT], env=_ENVIRONMENT, check=True)
            found["asked_seconds"] = round(time.monotonic() - began, 1)
            found["page"] = settled()
            found["page_seconds"] = round(time.monotonic() - began, 1)
            found["status"] = json.loads(asked(_API, "/api/v1/status"))
            found["processes"] = processes()
    finally:
        server.kill()
        if agent.poll() is None:
            agent.terminate()
        found["ended"] = agent.wait(300)
        tell("watch", driver=driver, column=column, log=_LOG.read_text(), **found)


def asked(port: int, path: str) -> str:
    """The answer, or nothing where there is none yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def counting() -> bool:
    """Whether there is an engine to count; that an agent answers comes before."""
    answer = asked(_API, "/api/v1/status")
    return bool(answer) and json.loads(answer)["engine"]["state"] == "running"


def waited(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (done := what()) and time.monotonic() < end:
        time.sleep(1)
    return done


def settled() -> str:
    """The page of metrics, once it says something of the client's and the server's ports and that has stood still."""
    last: list[str] = []
    page, since = "", time.monotonic()
    end = since + _COUNTED_SECONDS
    while time.monotonic() < end and (not last or time.monotonic() - since < _QUIET_SECONDS):
        page = asked(_METRICS, "/metrics")
        rows = [line for line in page.splitlines() if f'port="{PORT}"' in line or f'port="{REFUSED}"' in line]
        if rows != last:
            last, since = rows, time.monotonic()
        time.sleep(2)
    return page


def processes() -> dict[str, dict[str, str]]:
    """What the kernel says of each process of the agent's."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text().replace("\0", " ").strip()
            told = re.findall(r"^(Uid|CapBnd|Seccomp|VmRSS):\s*(.*)$", (process / "status").read_text(), re.MULTILINE)
        except OSError:
            continue
        if "firesteel" in command:
            found[command] = dict(told)
    return found


if __name__ == "__main__":
    main()
