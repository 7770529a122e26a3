# SPDX-License-Identifier: Apache-2.0
"""Every word with the cluster goes through kubectl: `kubectl proxy` on a socket that only its user can open, and exec.

So credentials, plugins and versions of the API are kubectl's affair, and one process of it serves many requests.
"""

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

Object = dict[str, Any]
_SECONDS: Final = 60
_MOST_BYTES: Final = 256 << 20
_ANYTHING: Final = "application/json, text/plain"
_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Refused(Exception):
    """The cluster, or kubectl, said no; `status` is HTTP's where there was an answer, else 0."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Kubectl:
    """`options` are kubectl's own, such as --context; `program` is its path. To be closed."""

    def __init__(self, options: Sequence[str] = (), program: str = "kubectl") -> None:
        self._command = [program, *options]
        self._folder = Path(tempfile.mkdtemp(prefix="kubectl-firesteel-"))
        self._proxy: subprocess.Popen[bytes] | None = None
        self.patience: float = _SECONDS
        """How long a command in a container may take."""

    def close(self) -> None:
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def get(self, path: str, **query: str) -> Object:
        """Raises Refused, also where the path is not there."""
        answer = json.loads(self._ask("GET", _with(path, query)))
        if not isinstance(answer, dict):
            raise Refused(f"{path} is no object")
        return answer

    def find(self, path: str) -> Object | None:
        """The same, None where it is not there."""
        try:
            return self.get(path)
        except Refused as refused:
            if refused.status == http.HTTPStatus.NOT_FOUND:
                return None
            raise

    def items(self, path: str, **query: str) -> list[Object]:
        """All objects of a collection; none where the API has no such kind."""
        try:
            return list(self.get(path, **query).get("items", []))
        except Refused as refused:
            if refused.status == http.HTTPStatus.NOT_FOUND:
                return []
            raise

    def names(self, path: str, **query: str) -> list[str]:
        """Of a collection whose contents are not for us, such as Secrets: the server sends their metadata and nothing else."""
        told = json.loads(self._ask("GET", _with(path, query), accept=_METADATA))
        return [str(item["metadata"]["name"]) for item in told.get("items") or ()]

    def text(self, path: str, **query: str) -> str:
        return self._ask("GET", _with(path, query)).decode(errors="replace")

    def create(self, path: str, item: Object, *, dry: bool = False) -> None:
        self._ask("POST", _with(path, _dry(dry)), item)

    def replace(self, path: str, item: Object, *, dry: bool = False) -> None:
        self._ask("PUT", _with(path, _dry(dry)), item)

    def delete(self, path: str) -> bool:
        """Whether it was there. What belongs to it goes in the background."""
        try:
            self._ask("DELETE", _with(path, {"propagationPolicy": "Background"}))
        except Refused as refused:
            if refused.status == http.HTTPStatus.NOT_FOUND:
                return False
            raise
        return True

    def execute(self, namespace: str, pod: str, container: str, *command: str) -> str:
        """What a command in a container prints. Raises Refused, also for another exit code than 0 that printed nothing."""
        arguments = [*self._command, "exec", "-n", namespace, pod, "-c", container, "--", *command]
        try:
            ended = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=self.patience)
        except subprocess.TimeoutExpired:
            raise Refused(f"no answer within {self.patience:.0f} s: does the kubelet of its node answer?") from None
        if ended.returncode and not ended.stdout.strip():
            raise Refused(ended.stderr.strip() or f"exit code {ended.returncode}")
        return ended.stdout

    def attach(self, namespace: str, pod: str, container: str, *command: str) -> int:
        """The same on this terminal; answers the exit code."""
        arguments = [*self._command, "exec", "-it", "-n", namespace, pod, "-c", container, "--", *command]
        return subprocess.run(arguments, check=False).returncode

    def _ask(self, method: str, path: str, item: Object | None = None, *, accept: str = _ANYTHING) -> bytes:
        self._start()
        connection = _Connection(self._folder / "proxy")
        headers = {"Content-Type": "application/json", "Accept": accept}
        try:
            connection.request(method, path, json.dumps(item) if item is not None else None, headers)
            response = connection.getresponse()
            body = response.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise Refused(f"kubectl proxy: {error}: is the API server reachable?") from None
        finally:
            connection.close()
        if response.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR and not _is_json(body):
            # The own words of kubectl proxy (`dial tcp ...`), or a balancer's: the API server answers with objects.
            told = (
                f"the API server cannot be reached: {_message(body)}; choose a cluster with --context or --kubeconfig"
            )
            raise Refused(told)
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise Refused(_message(body) or f"{method} {path}: {response.status} {response.reason}", response.status)
        return body

    def _start(self) -> None:
        """Waits until the proxy listens. Raises Refused with what kubectl said."""
        if self._proxy is not None and self._proxy.poll() is None:
            return
        place, log = self._folder / "proxy", self._folder / "log"
        place.unlink(missing_ok=True)
        try:
            with log.open("wb") as output:
                # Ctrl-C is for us: what we made is taken away through it.
                self._proxy = subprocess.Popen(
                    [*self._command, "proxy", f"--unix-socket={place}"],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
        except FileNotFoundError:
            raise Refused("there is no kubectl here: https://kubernetes.io/docs/tasks/tools/") from None
        end = time.monotonic() + _SECONDS
        while self._proxy.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as trial:
                trial.connect(str(place))
                return
            time.sleep(0.05)
        raise Refused(log.read_text(errors="replace").strip() or "kubectl proxy did not start")


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _message(body: bytes) -> str:
    """Of the API's Status object; text as it is."""
    text = body.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:500]


def _with(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _dry(dry: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry else {}
