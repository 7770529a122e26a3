# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API over HTTP: the official client's configuration and authentication, urllib3, raw JSON.

Everything that needs a privilege (a kubeconfig of root's, its keys) is read in `connect`, before privileges are given
up. The token of a pod is a file that changes: the official client reads it again every minute.
"""

import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from collector.metadata.kube_objects import Json
from collector.metadata.kube_shapes import Decode

JSON: Final = "application/json"
TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
WATCHED_METADATA: Final = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 60.0
_LARGEST_EVENT: Final = 8 << 20
_LARGEST_ANSWER: Final = 512 << 20
_KEPT_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A server that is gone without a word (its machine, or the way to it) is told from a quiet one within a minute: else a watch would
hear nothing for as long as it was asked for."""
_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class Unavailable(Exception):
    """The API cannot be used: no configuration, no connection, or an answer that is none. The text says which."""


class Refused(Unavailable):
    """The API answered with an error; `status` is HTTP's, 410 where a watch must begin anew."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def is_in_cluster() -> bool:
    """Whether this process runs in a pod that has a service account."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and _TOKEN.exists()


class KubeApi:
    """Safe to use from several threads. `bytes_read` and `requests` are what it cost the API server so far."""

    def __init__(self, configuration: Any) -> None:
        import urllib3  # noqa: PLC0415 - with the client, 30 MiB that only a cluster is worth

        self._configuration = configuration
        self._host = str(configuration.host).rstrip("/")
        self._pool = _pool(configuration)
        self._errors: tuple[type[Exception], ...] = (urllib3.exceptions.HTTPError, OSError)
        self.bytes_read = 0
        self.requests = 0

    @classmethod
    def connect(cls, kubeconfig: str) -> "KubeApi":
        """From inside the cluster if `kubeconfig` is empty. Contacts nobody yet. Raises Unavailable."""
        from kubernetes import client, config  # noqa: PLC0415

        # Proxies are the kubeconfig's: one of the environment may not reach the API server that a pod is told of.
        configuration = client.Configuration(proxy="", no_proxy="")
        try:
            if kubeconfig:
                config.load_kube_config(kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            return cls(configuration)
        except (config.ConfigException, OSError, ssl.SSLError, ValueError) as error:
            place = kubeconfig or "the pod's service account"
            raise Unavailable(f"{place} cannot be used: {error}") from None

    def token(self) -> str:
        """The value of the Authorization header for this API server, empty without one; read again when it changes."""
        told = self._configuration.auth_settings().get("BearerToken")
        return str(told["value"]) if told else ""

    def get(self, path: str, parameters: Mapping[str, str], accept: str = JSON, decode: Decode = json.loads) -> Json:
        """One answer, parsed. Raises Unavailable or Refused."""
        response = self._send(path, parameters, accept, _READ_SECONDS, compressed=True)
        try:
            body = response.read(_LARGEST_ANSWER, decode_content=True)
        except self._errors as error:
            raise Unavailable(f"{path}: {error}") from None
        finally:
            response.release_conn()
        self.bytes_read += len(body)
        try:
            answer = decode(body)
        except ValueError as error:
            raise Unavailable(f"{path}: the answer is not JSON: {error}") from None
        if not isinstance(answer, Mapping):
            raise Unavailable(f"{path}: the answer is not an object")
        return answer

    def create(self, path: str, body: Json) -> Json:
        """Posts an object of a kind that is answered and not kept, such as a review. Raises Unavailable or Refused."""
        import urllib3  # noqa: PLC0415

        headers = {"Accept": JSON, "Content-Type": JSON, "User-Agent": "firesteel"}
        if token := self.token():
            headers["Authorization"] = token
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        self.requests += 1
        try:
            response = self._pool.request(
                "POST", self._host + path, body=json.dumps(body), headers=headers, timeout=timeout
            )
        except self._errors as error:
            raise Unavailable(f"{path}: {error}") from None
        if response.status not in {200, 201}:
            told = _message(response.data[:4096].decode(errors="replace"))
            raise Refused(response.status, f"{path}: the API answered {response.status}: {told}")
        answer = json.loads(response.data)
        if not isinstance(answer, Mapping):
            raise Unavailable(f"{path}: the answer is not an object")
        return answer

    def watch(
        self, path: str, parameters: Mapping[str, str], accept: str, seconds: int, decode: Decode = json.loads
    ) -> Iterator[Json]:
        """Events as they come, until the server ends the watch (`seconds` was asked for). Raises Unavailable, Refused."""
        asked = {**parameters, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        response = self._send(path, asked, accept, seconds + _READ_SECONDS, compressed=False)
        rest = b""
        try:
            for chunk in response.stream(1 << 16, decode_content=True):
                self.bytes_read += len(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _event(path, line, decode)
                if len(rest) > _LARGEST_EVENT:
                    raise Unavailable(f"{path}: an event of more than {_LARGEST_EVENT} bytes")
        except self._errors as error:
            raise Unavailable(f"{path}: {error}") from None
        finally:
            response.close()

    def _send(self, path: str, parameters: Mapping[str, str], accept: str, seconds: float, *, compressed: bool) -> Any:
        import urllib3  # noqa: PLC0415

        headers = {"Accept": accept, "User-Agent": "firesteel"}
        if compressed:
            headers["Accept-Encoding"] = "gzip"
        if token := self.token():
            headers["Authorization"] = token
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=seconds)
        self.requests += 1
        try:
            response = self._pool.request(
                "GET", self._host + path, fields=dict(parameters), headers=headers, preload_content=False,
                timeout=timeout,
            )  # fmt: skip
        except self._errors as error:
            raise Unavailable(f"{path}: {error}") from None
        if response.status != 200:
            text = response.read(4096).decode(errors="replace")
            response.close()
            raise Refused(response.status, f"{path}: the API answered {response.status}: {_message(text)}")
        return response


def _pool(configuration: Any) -> Any:
    """Connections as the cluster of a kubeconfig has them: `proxy-url`, with its user and password if it has them, and
    `tls-server-name`. Raises ValueError for a proxy of another kind than http and https, OSError for files of TLS."""
    import urllib3  # noqa: PLC0415

    usual = urllib3.connection.HTTPConnection.default_socket_options
    options: dict[str, Any] = {
        "num_pools": 1, "maxsize": 12, "retries": False, "socket_options": [*usual, *_KEPT_ALIVE],
    }  # fmt: skip
    if str(configuration.host).startswith("https:"):
        options["ssl_context"] = _context(configuration)
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
    proxy = getattr(configuration, "proxy", None)
    if not proxy:
        return urllib3.PoolManager(**options)
    told = urllib3.util.parse_url(proxy)
    if told.scheme not in {"http", "https"} or not told.host:
        raise ValueError(f"proxy-url {told.scheme}://{told.host}: only proxies of http and https can be used")
    headers = urllib3.make_headers(proxy_basic_auth=unquote(told.auth)) if told.auth else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)


def _context(configuration: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file or None)
    return context


def _event(path: str, line: bytes, decode: Decode) -> Json:
    try:
        event = decode(line)
    except ValueError as error:
        raise Unavailable(f"{path}: an event is not JSON: {error}") from None
    if not isinstance(event, Mapping) or not isinstance(event.get("object"), Mapping):
        raise Unavailable(f"{path}: an event has no object")
    if event.get("type") == "ERROR":
        status = event["object"].get("code")
        raise Refused(status if isinstance(status, int) else 500, f"{path}: {event['object'].get('message')}")
    return event


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:200]
