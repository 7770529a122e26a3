# SPDX-License-Identifier: Apache-2.0
"""Paths as labels: what comes out, and what never does."""

import re
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.parsing import Clustering, cluster

LONGEST = 253

ALPHABET = [
    (b"/", "/"),
    (b"", ""),
    (b"/api", "/api"),
    (b"/A/b/20000/", "/A/b/*/"),
    (b"/test/22?v=a", "/test/*"),
    (b"/a12?a=1132", "/*"),
    (b"/abcd/1234a/efg/b&*", "/abcd/*/efg/*"),
    (b"/a//b/c?d=2&e=3", "/a//b/c"),
    (b"/a/?x=/b/c", "/a/"),
    (b"/user-list/log_in", "/user-list/log_in"),
    (b"/index.html", "/*"),
    (b"/" + b"a" * 25, "/" + "a" * 25),
    (b"/" + b"a" * 26, "/*"),
    (b"/caf\xc3\xa9/\xff\xfe/x", "/*/*/x"),
    (b"/a\x00b/c", "/*/c"),
    (b"/a#section", "/a"),
    (b"/a#b?c", "/a"),
    (b"/%61", "/*"),
    (b"http://user:password@example.com:8080/a/1?q=2", "/a/*"),
    (b"http://example.com", "/"),
    (b"http://example.com?q=1", "/"),
    (b"HTTPS://example.com/Shop", "/Shop"),
    (b"example.com:443", "*"),
    (b"user:password@example.com:443", "*"),
    (b"*", "*"),
    (b"?q=1", "*"),
    (b"//user:password@host/a", "//*/a"),
]

NOPARAM = [
    (b"/A/b/20000/", "/A/b/20000/"),
    (b"/a12?a=1132", "/a12"),
    (b"/abcd/1234a/efg/b&*", "/abcd/1234a/efg/b&*"),
    (b"/index.html#top", "/index.html"),
    (b"/cart;jsessionid=SECRET/items;v=1", "/cart/items"),
    (b"/caf\xc3\xa9/\xff\x01\x7f x", "/caf%C3%A9/%FF%01%7F%20x"),
    (b"//user:password@host/a", "//*/a"),
    (b"/@scope/pkg:1/a@b", "/@scope/pkg:1/a@b"),
    (b"http://user:password@example.com/a/1?q", "/a/1"),
    (b"example.com:443", "*"),
    (b"/" + b"x" * 252, "/" + "x" * 248 + "*"),
    (b"/" + b"x" * 248, "/" + "x" * 248),
    (b"", ""),
]


@pytest.mark.parametrize(("target", "expected"), ALPHABET)
@pytest.mark.parametrize("how", [Clustering.ALPHABET, Clustering.LEARN])
def test_alphabet(target: bytes, expected: str, how: Clustering) -> None:
    assert cluster(target, how) == expected


@pytest.mark.parametrize(("target", "expected"), NOPARAM)
def test_noparam(target: bytes, expected: str) -> None:
    assert cluster(target, Clustering.NOPARAM) == expected


@pytest.mark.parametrize("target", [b"/", b"/a/b", b"*", b"h:1", b"http://h/a"])
def test_blank(target: bytes) -> None:
    assert cluster(target, Clustering.BLANK) == ""


@pytest.mark.parametrize("how", [Clustering.ALPHABET, Clustering.NOPARAM])
@pytest.mark.parametrize("segment", [b"", b"1", b"a", b"abc", b"a" * 25, b"\xff", b"a" * 26])
def test_a_path_that_does_not_fit_ends_in_a_star(how: Clustering, segment: bytes) -> None:
    label = cluster((b"/" + segment) * 400, how)
    assert LONGEST - 30 <= len(label) <= LONGEST
    assert label.endswith("*")


targets = st.one_of(
    st.binary(max_size=600),
    st.text(string.ascii_letters + string.digits + "/?#;:@*-_.%", max_size=600).map(lambda text: text.encode()),
)


@settings(deadline=None)
@given(targets, st.sampled_from(Clustering))
@example(b"/" * 600, Clustering.NOPARAM)
@example(b"/*" * 300, Clustering.ALPHABET)
def test_every_label_is_short_printable_and_without_parameters(target: bytes, how: Clustering) -> None:
    label = cluster(target, how)
    assert len(label) <= LONGEST
    assert re.fullmatch(r"[!-~]*", label)
    assert "?" not in label
    assert "#" not in label
    if how in {Clustering.ALPHABET, Clustering.LEARN}:
        assert re.fullmatch(r"\*?|(/([A-Za-z_-]{0,25}|\*))+", label)
    if how is Clustering.BLANK:
        assert label == ""


@settings(deadline=None)
@given(st.text(string.ascii_letters + string.digits + "/-_", max_size=100).map(lambda text: "/" + text))
def test_clustering_again_changes_nothing(path: str) -> None:
    once = cluster(path.encode())
    assert cluster(once.replace("*", "0").encode()) == once
