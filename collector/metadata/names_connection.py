# SPDX-License-Identifier: Apache-2.0
"""One connection to the names service: its certificate, the agent's token, the bytes that come."""

import json
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from collector.metadata import names_stream
from collector.metadata.kube_api import KubeApi, Refused, Unavailable
from collector.metadata.names_place import Place

_TOKEN_BYTES: Final = 16_384
_CONNECT_SECONDS: Final = 10.0
_SILENT_SECONDS: Final = 35.0
"""The service says something every ten seconds; after so long without a byte it is taken for gone."""


@dataclass(frozen=True, slots=True)
class NamesSettings:
    """The keys kubernetes.names*; `names` is not `off`."""

    names: str
    ca: str = ""
    token: str = ""


class NamesConnection:
    """`api` has the token that is shown where the service has none of its own."""

    def __init__(self, api: KubeApi, settings: NamesSettings) -> None:
        self._api = api
        self._settings = settings
        self._trusted: ssl.SSLContext | None = None
        self._own_token = ""
        with suppress(Unavailable):
            self._context()  # while root's files can be read
        self._token()

    def stream(self, place: Place, since: str) -> Iterator[bytes]:
        """What it says, in pieces, after the position `since` if there is one. Raises Unavailable or Refused."""
        import urllib3  # noqa: PLC0415 - as in KubeApi: only a cluster is worth it

        errors: tuple[type[Exception], ...] = (urllib3.exceptions.HTTPError, OSError)
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_SILENT_SECONDS)
        pool: Any
        if self._settings.ca or not _is_loopback(place.host):
            pool = urllib3.HTTPSConnectionPool(
                place.host, place.port, timeout=timeout, retries=False, ssl_context=self._context(),
                server_hostname=place.name, assert_hostname=place.name,
            )  # fmt: skip
        else:
            pool = urllib3.HTTPConnectionPool(place.host, place.port, timeout=timeout, retries=False)
        low, high = names_stream.spoken()
        fields = {"low": str(low), "high": str(high)} | ({"since": since} if since else {})
        headers = {"User-Agent": "firesteel", "Authorization": self._token()}
        try:
            response = pool.request("GET", names_stream.PATH, fields=fields, headers=headers, preload_content=False)
            try:
                if response.status != 200:
                    text = response.read(4096).decode(errors="replace")
                    raise Refused(
                        response.status, f"{place.host}:{place.port} answered {response.status}: {_reason(text)}"
                    )
                yield from response.stream(1 << 16, decode_content=False)
            finally:
                response.close()
        except errors as error:
            raise Unavailable(f"{place.host}:{place.port}: {error}") from None
        finally:
            pool.close()

    def _context(self) -> ssl.SSLContext:
        """Read anew each time; where that fails, what was read before holds. Raises Unavailable."""
        try:
            self._trusted = ssl.create_default_context(cafile=self._settings.ca or None)
        except (OSError, ssl.SSLError) as error:
            if self._trusted is None:
                raise Unavailable(f"kubernetes.names_ca: {self._settings.ca}: {error}") from None
        return self._trusted

    def _token(self) -> str:
        """The value of the header; empty if there is no token."""
        if not self._settings.token:
            told = self._api.token()
            return told if told.lower().startswith("bearer ") or not told else f"Bearer {told}"
        with suppress(OSError, UnicodeDecodeError), Path(self._settings.token).open("rb") as file:
            self._own_token = file.read(_TOKEN_BYTES).decode("ascii").strip()
        return f"Bearer {self._own_token}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(text: str) -> str:
    try:
        error = json.loads(text)["error"]
        return f"{error['what']}; {error['remedy']}"
    except (ValueError, KeyError, TypeError):
        return text.strip()[:200]
