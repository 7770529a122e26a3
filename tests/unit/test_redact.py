# SPDX-License-Identifier: Apache-2.0
"""What samples show of a message's head where payload is switched on: nothing that admits somebody."""

import pytest

from analyzers._native import ffi
from tests.events import SECOND, Conversation
from tests.inprocess import InProcessEngine

SECRET = "c2VjcmV0"
NAMES = (
    "Authorization", "Proxy-Authorization", "Authorization ", "AUTHORIZATION", "Cookie", "Set-Cookie", "X-Api-Key", "apikey",
    "X-Auth-Token", "X-Vault-Token", "PRIVATE-TOKEN", "X-Amz-Security-Token", "X-Csrf-Token", "X-Access-Token",
    "Ocp-Apim-Subscription-Key", "X-Client-Secret", "X-Password", "X-Session-Id", "X-Hub-Signature-256", "X-Jwt-Assertion",
    "Sec-WebSocket-Protocol",
)  # fmt: skip


def shown(request: str) -> str:
    with InProcessEngine(sample_rate=10, sample_per_edge=5, capture_bytes=255) as engine:
        c = Conversation(7, ("10.0.0.2", 80), ("10.0.0.1", 40000), "server", comm="nginx", pid=5)
        engine.feed([c.open(0), c.receives(SECOND, request.encode())])
        engine.feed([c.sends(SECOND + 7, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")])
        (sample,) = engine.samples()
        return bytes(ffi.buffer(sample.request_text, sample.request_text_length)).decode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fold", [" ", "\r\n ", "\r\n\t"])
def test_the_value_of_a_field_that_admits_is_blanked_on_all_of_its_lines(name: str, fold: str) -> None:
    head = f"GET /a HTTP/1.1\r\nHost: x\r\n{name}: Bearer{fold}{SECRET}\r\nAccept: */*\r\n\r\n"
    rest = " *\n" if fold.startswith("\r\n") else ""
    assert shown(head) == f"GET /a HTTP/1.1 \nHost: x \n{name}: *\n{rest}Accept: */* \n"


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (f"Location: https://h/cb#access_token={SECRET}&state=1", "Location: https://h/cb#*"),
        (f"Location: https://h/cb?code={SECRET}#token={SECRET}", "Location: https://h/cb?*"),
        (f"Referer: http://bob:{SECRET}@h/x?y={SECRET} z", "Referer: http://*@h/x?* z "),
        ("User-Agent: a\r\n b", "User-Agent: a \n b "),
        ("Keep-Alive: timeout=5", "Keep-Alive: timeout=5 "),
    ],
)
def test_of_other_fields_queries_fragments_and_passwords_are(field: str, told: str) -> None:
    assert shown(f"GET /a HTTP/1.1\r\n{field}\r\n\r\n") == f"GET /a HTTP/1.1 \n{told}\n"


def test_the_first_line_is_no_field() -> None:
    assert shown("GET http://auth.example/key HTTP/1.1\r\nHost: x\r\n\r\n") == (
        "GET http://auth.example/key HTTP/1.1 \nHost: x \n"
    )


@pytest.mark.parametrize("user", [SECRET, f"bob:{SECRET}", f"bob@h:{SECRET}"])
def test_the_user_of_what_a_proxy_is_asked_to_connect_to_is_blanked(user: str) -> None:
    assert shown(f"CONNECT {user}@h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n") == "CONNECT *@h:443 HTTP/1.1 \nHost: h:443 \n"
