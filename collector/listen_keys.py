# SPDX-License-Identifier: Apache-2.0
"""The part of the configuration's table that says where the agent answers HTTP, and whom: `listen.*`."""

# ruff: noqa: RUF009 - the fields of these dataclasses are rows of a table, and key() and section() write them

from dataclasses import dataclass

from collector.key_texts import PATH
from collector.keys import key, section
from collector.kinds import Endpoint, Listen, Text

_AUTH = Text(r"none|kubernetes|/[^\x00]+", "none, kubernetes, or the absolute path of a file that holds a bearer token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Encrypts every listener."""

    cert: str = key(
        PATH, '""', "PEM file with the certificate chain of every listener, read again each half minute; empty: no TLS."
    )
    key: str = key(PATH, '""', "PEM file with its private key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Where the agent answers HTTP. None means off."""

    metrics: Endpoint | None = key(Listen(), '"127.0.0.1:9500"', "Where /metrics, /healthz and /readyz answer.")
    api: Endpoint | None = key(Listen(), '"127.0.0.1:9501"', "Where the live page and the API answer.")
    names: Endpoint | None = key(
        Listen(),
        '":9502"',
        "Where `firesteel names` answers the agents; other commands do not listen there.",
        restart=True,
    )
    tls: Tls = section(Tls)
    auth: str = key(
        _AUTH,
        "none",
        "What the API asks of a client: a token, or with kubernetes an account that may get the path. Something is required where the API is not on loopback.",
    )
    metrics_auth: str = key(_AUTH, "none", "The same for /metrics; /healthz and /readyz ask nothing.")

    @property
    def token_file(self) -> str:
        """Path of the file with the bearer token, or an empty string."""
        return self.auth if self.auth.startswith("/") else ""

    @property
    def metrics_token_file(self) -> str:
        """The same for /metrics."""
        return self.metrics_auth if self.metrics_auth.startswith("/") else ""
