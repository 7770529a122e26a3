# SPDX-License-Identifier: Apache-2.0
"""OpenSSL's own server over the real kernel: by name, version and alert, the agent counts the handshakes of clients."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.agents import Agent
from tests.operations_seen import Operation, operations, protocols
from tests.requests_seen import lost, watching
from tests.servers import Server, nginx, program, tls_server

EACH = 12
Version = ssl.TLSVersion


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with watching() as running:
        yield running


def context(version: Version, ciphers: str = "") -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    if ciphers:
        made.set_ciphers(ciphers)
    return made


def ask(server: Server, how: ssl.SSLContext, name: str | None, session: ssl.SSLSession | None = None) -> ssl.SSLSession:
    """One connection with one request on it. Raises ssl.SSLError if either side refuses."""
    with (
        socket.create_connection((server.address, server.port), timeout=30) as link,
        how.wrap_socket(link, server_hostname=name, session=session) as secure,
    ):
        secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while secure.recv(65536):
            pass
        assert secure.session
        return secure.session


def handshakes(agent: Agent, server: Server, expected: Counter[Operation]) -> Counter[Operation]:
    """All that have an outcome: what is said on a connection later has none."""

    def told(reader: Agent) -> Counter[Operation]:
        found = operations(reader, server.port, "tls")
        return Counter({operation: count for operation, count in found.items() if operation[1]})

    agent.wait(lambda reader: told(reader).total() >= expected.total())
    time.sleep(1.3)
    agent.page()
    return told(agent)


@pytest.mark.parametrize("version", [Version.TLSv1_2, Version.TLSv1_3], ids=["1.2", "1.3"])
def test_handshakes_by_name_and_version(agent: Agent, version: Version) -> None:
    """Resumed ones too, and those that name nobody."""
    told = f"TLSv1.{int(version) - 0x301}"
    expected: Counter[Operation] = Counter()
    with tls_server() as server, nginx(tls=True) as web:
        for peer in (server, web):
            expected.clear()
            session = None
            for number in range(EACH):
                name = None if number % 4 == 0 else f"shop-{number % 4}.example.test"
                how = context(version)
                session = ask(peer, how, name)
                if name:
                    ask(peer, how, name, session)
                expected[name or "", told, False] += 2 if name else 1
            assert handshakes(agent, peer, expected) == expected
            assert protocols(agent, peer.port) == {"tls"}
    assert lost(agent) == {}


def test_the_client_of_openssl(agent: Agent) -> None:
    command = [program("openssl"), "s_client", "-quiet", "-no_ign_eof", "-servername", "api.example.test"]
    with tls_server() as server:
        for option in ("-tls1_2", "-tls1_3"):
            where = ["-connect", f"{server.address}:{server.port}", option]
            for _ in range(5):
                subprocess.run([*command, *where], input=b"GET / HTTP/1.0\r\n\r\n", capture_output=True, check=False)
        expected = Counter({("api.example.test", f"TLSv1.{minor}", False): 5 for minor in (2, 3)})
        assert handshakes(agent, server, expected) == expected


@pytest.mark.parametrize(
    ("options", "version", "ciphers", "alert"),
    [
        (["-tls1_3"], Version.TLSv1_2, "", "protocol_version"),
        (["-tls1_2"], Version.TLSv1_3, "", "protocol_version"),
        (
            ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            Version.TLSv1_2,
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "handshake_failure",
        ),
        (
            ["-servername", "known.test", "-servername_fatal", "-cert2", "{cert}", "-key2", "{key}"],
            Version.TLSv1_3,
            "",
            "unrecognized_name",
        ),
    ],
    ids=["old-client", "old-server", "no-shared-cipher", "unknown-name"],
)
def test_refused_handshakes(agent: Agent, options: list[str], version: Version, ciphers: str, alert: str) -> None:
    with contextlib.ExitStack() as stack:
        if "{cert}" in options:
            other = stack.enter_context(nginx(tls=True))
            files = {"{cert}": str(other.folder / "cert.pem"), "{key}": str(other.folder / "key.pem")}
            options = [files.get(option, option) for option in options]
        server = stack.enter_context(tls_server(options=options))
        for _ in range(EACH):
            with pytest.raises(ssl.SSLError):
                ask(server, context(version, ciphers), "bad.example.test")
        expected = Counter({("bad.example.test", alert, True): EACH})
        assert handshakes(agent, server, expected) == expected
        assert protocols(agent, server.port) == {"tls"}


def test_a_client_that_does_not_trust_the_server(agent: Agent) -> None:
    """It says so in the clear, also in TLS 1.3: what OpenSSL's client says before its Finished is not sealed."""
    with tls_server() as server:
        for version in (Version.TLSv1_2, Version.TLSv1_3):
            how = ssl.create_default_context()
            how.minimum_version = how.maximum_version = version
            for _ in range(EACH):
                with pytest.raises(ssl.SSLCertVerificationError):
                    ask(server, how, "localhost")
        expected = Counter({("localhost", "unknown_ca", True): 2 * EACH})
        assert handshakes(agent, server, expected) == expected
