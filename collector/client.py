# SPDX-License-Identifier: Apache-2.0
"""How `status`, `explain` and `top` ask a running agent: one GET, and a sentence with a remedy when it fails."""

import ipaddress
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, cast

from collector.schema import Config

TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 64 << 20


class Unanswered(Exception):
    """No agent answered as it should. `remedy` says what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy = problem, remedy


class AgentClient:
    """Asks the API at `url`. `token_file` is read at each question, `certificate` is the only one that is trusted."""

    def __init__(self, url: str, token_file: str = "", certificate: str = "") -> None:
        self.url = url.rstrip("/")
        self._token_file = token_file
        self._certificate = certificate

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """The JSON object that a route answers; raises Unanswered."""
        if not self.url.startswith(("http://", "https://")):
            raise Unanswered(f"{self.url} is not a web address", "write --url http://127.0.0.1:9501")
        address = f"{self.url}{path}"
        if query:
            address += "?" + urllib.parse.urlencode(query)
        try:
            headers = {"Accept": "application/json", **self._token()}
            request = urllib.request.Request(address, headers=headers)  # noqa: S310 - checked above
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls())
            )
            with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                answer = json.loads(response.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            raise self._refused(error) from None
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from None
        if not isinstance(answer, dict):
            raise Unanswered(f"{address} answered something else than an agent does", "check --url")
        return cast("dict[str, Any]", answer)

    def _token(self) -> dict[str, str]:
        if not self._token_file:
            return {}
        try:
            token = Path(self._token_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            problem = f"the token file {self._token_file} cannot be read: {error.strerror}"
            raise Unanswered(problem, "run as its owner, or name another with --token-file") from None
        return {"Authorization": f"Bearer {token}"}

    def _tls(self) -> ssl.SSLContext:
        if not self._certificate:
            return ssl.create_default_context()
        context = ssl.create_default_context(cafile=self._certificate)
        context.check_hostname = False  # the agent's own certificate, asked for by address
        return context

    def _refused(self, error: urllib.error.HTTPError) -> Unanswered:
        if error.code in (401, 403):
            return Unanswered(f"{self.url} asks for a token", "name the file that holds it with --token-file")
        what, remedy = _told(error)
        return Unanswered(f"{self.url} answered {error.code}: {what}", remedy or "check --url and the agent's log")

    def _unreachable(self, error: OSError | ValueError) -> Unanswered:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ConnectionRefusedError):
            return Unanswered(
                f"no agent answers at {self.url}",
                "start one (sudo firesteel run), or name another with --url or --config",
            )
        return Unanswered(f"{self.url} cannot be asked: {cause}", "check --url, listen.api and listen.tls")


def _told(error: urllib.error.HTTPError) -> tuple[str, str]:
    """What the agent says is wrong, and its remedy (docs/api.md, errors)."""
    try:
        told = json.loads(error.read(65536))["error"]
        return str(told["what"]), str(told["remedy"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason), ""


def client_for(config: Config, url: str | None, token_file: str | None) -> AgentClient:
    """The agent that `config` describes, or the one at `url`; raises Unanswered when `config` has no API."""
    token = token_file if token_file is not None else config.listen.token_file
    if url is not None:
        return AgentClient(url, token_file or "", "")
    api = config.listen.api
    if api is None:
        raise Unanswered("listen.api is off", "name an agent with --url")
    host = api.host
    try:
        if not host or ipaddress.ip_address(host).is_unspecified:
            host = "127.0.0.1"
    except ValueError:
        pass  # a name, which is as good
    scheme = "https" if config.listen.tls.cert else "http"
    bracketed = f"[{host}]" if ":" in host else host
    return AgentClient(f"{scheme}://{bracketed}:{api.port}", token, config.listen.tls.cert)
