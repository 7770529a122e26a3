# SPDX-License-Identifier: Apache-2.0
"""Conntrack as a file: which sockets dialled a translated address, and who answers them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from probes.conntrack_list import TranslationLister
from probes.sockets import ESTABLISHED, SeenSocket

CLIENT = SeenSocket(1, 0, ESTABLISHED, "10.1.0.2", 40000, "10.96.0.1", 443, 11)
SIX = replace(CLIENT, local_ip="fd00::2", remote_ip="fd00:96::1", local_port=40001)
LINES = """\
ipv4     2 tcp      6 431999 ESTABLISHED src=10.1.0.2 dst=10.96.0.1 sport=40000 dport=443 src=10.2.0.7 dst=10.1.0.2 sport=8443 dport=40000 [ASSURED] mark=0 zone=0 use=2
ipv4     2 udp      17 29 src=10.1.0.2 dst=10.96.0.10 sport=40000 dport=53 src=10.2.0.8 dst=10.1.0.2 sport=53 dport=40000 mark=0 zone=0 use=2
ipv4     2 tcp      6 100 ESTABLISHED src=10.1.0.2 dst=192.0.2.1 sport=40002 dport=443 packets=3 bytes=99 src=192.0.2.1 dst=203.0.113.5 sport=443 dport=40002 packets=2 bytes=88 [ASSURED] mark=0 zone=0 use=2
nonsense tcp src=1 dst=
ipv6     10 tcp      6 431999 ESTABLISHED src=fd00:0000:0000:0000:0000:0000:0000:0002 dst=fd00:0096:0000:0000:0000:0000:0000:0001 sport=40001 dport=443 src=fd00:0002:0000:0000:0000:0000:0000:0007 dst=fd00:0000:0000:0000:0000:0000:0000:0002 sport=8443 dport=40001 [ASSURED] mark=0 zone=0 use=2
"""


@contextmanager
def lister(folder: Path, text: str = LINES) -> Iterator[TranslationLister]:
    (folder / "self/net").mkdir(parents=True)
    (folder / "self/net/nf_conntrack").write_text(text)
    listing = TranslationLister.opened(folder)
    try:
        yield listing
    finally:
        listing.close()


def test_a_translated_connection_goes_to_who_answers(tmp_path: Path) -> None:
    other = replace(CLIENT, local_port=40002, remote_ip="192.0.2.1")
    with lister(tmp_path) as listing:
        assert listing.applied([CLIENT, SIX, other]) == [
            replace(CLIENT, remote_ip="10.2.0.7", remote_port=8443, dialled_ip="10.96.0.1", dialled_port=443),
            replace(SIX, remote_ip="fd00:2::7", remote_port=8443, dialled_ip="fd00:96::1", dialled_port=443),
            other,  # only its own address is another outside: whom it reaches is whom it asked
        ]
        assert (listing.fault, listing.left_out) == ("", 0)


def test_the_list_is_read_anew_each_time(tmp_path: Path) -> None:
    with lister(tmp_path, "") as listing:
        assert listing.applied([CLIENT]) == [CLIENT]
        (tmp_path / "self/net/nf_conntrack").write_text(LINES)
        assert listing.applied([CLIENT])[0].remote_ip == "10.2.0.7"
    assert listing.applied([CLIENT]) == [CLIENT]


def test_a_node_without_the_list_has_a_reason(tmp_path: Path) -> None:
    listing = TranslationLister.opened(tmp_path)
    assert listing.applied([CLIENT]) == [CLIENT]
    assert listing.fault == f"{tmp_path}/self/net/nf_conntrack: No such file or directory"


def test_more_entries_than_the_limit_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.conntrack_list.ENTRY_LIMIT", 3)
    with lister(tmp_path) as listing:
        assert [seen.remote_ip for seen in listing.applied([CLIENT, SIX])] == ["10.2.0.7", SIX.remote_ip]
        assert listing.left_out == 2
