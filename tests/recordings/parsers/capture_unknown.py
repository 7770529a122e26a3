# SPDX-License-Identifier: Apache-2.0
"""Makes recordings of what nobody decodes: `python -m tests.recordings.parsers.capture_unknown [name...]`."""

import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import servers
from tests.recordings.parsers.capture import Relay, run, version, write

LOCAL = "127.0.0.1"


@contextmanager
def serving(name: str, command: list[str], port: int) -> Iterator[Path]:
    """A server on `port`; its folder."""
    with tempfile.TemporaryDirectory(prefix=f"firesteel-{name}-", ignore_cleanup_errors=True) as folder:
        words = [word.format(folder=folder, port=port) for word in command]
        with servers.running(name, words, LOCAL, port, Path(folder), seconds=30):
            yield Path(folder)


def smtp() -> None:
    """Python's own server, which is there up to 3.11."""
    port = servers.free_port()
    command = [sys.executable, "-W", "ignore", "-m", "smtpd", "-n", "-c", "DebuggingServer", f"{LOCAL}:{{port}}"]
    with serving("smtp", command, port):
        relay = Relay(port)
        with smtplib.SMTP(LOCAL, relay.port, local_hostname="client.test") as client:
            for number in range(3):
                text = f"Subject: letter {number}\r\n\r\nGET / HTTP/1.1\r\n" + "line\r\n" * 20
                client.sendmail("me@client.test", ["you@server.test", "them@server.test"], text)
        speaker = f"smtplib and smtpd of Python {sys.version.split()[0]}"
        write("other-smtp", "smtp", speaker, "three letters on one connection", relay)


def git() -> None:
    port = servers.free_port()
    daemon = [
        "git",
        "daemon",
        f"--listen={LOCAL}",
        "--port={port}",
        "--base-path={folder}",
        "--export-all",
        "--reuseaddr",
    ]
    with serving("git", daemon, port) as folder:
        work = folder / "work"
        mail = ["-c", "user.name=n", "-c", "user.email=e@client.test"]
        subprocess.run(["git", "init", "-q", str(work)], check=True)
        for number in range(3):
            (work / f"file-{number}").write_text("words\n" * 50)
            subprocess.run(["git", "-C", str(work), "add", "."], check=True)
            subprocess.run(["git", "-C", str(work), *mail, "commit", "-q", "-m", f"{number}"], check=True)
        relay = Relay(port)
        said = run("git", "clone", "-q", f"git://{LOCAL}:{relay.port}/work", str(folder / "copy"))
        assert (folder / "copy" / "file-2").is_file()
        said = " ".join(said.split()[:-1])
        write("other-git", "git", f"{version('git', '--version')}; git daemon", said, relay)


RECIPES: dict[str, Callable[[], None]] = {recipe.__name__: recipe for recipe in (smtp, git)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or RECIPES:
        RECIPES[chosen]()
