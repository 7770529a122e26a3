# SPDX-License-Identifier: Apache-2.0
"""The names service and its agents: the same names as from the API server, and what happens when either of them breaks."""

import json
import random
import signal
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from collector.metadata import names_client, names_connection, names_place, names_stream
from collector.metadata.cluster_names import ClusterNames
from collector.metadata.kube_objects import NodeRecord, PodRecord
from collector.metadata.kubernetes import Cluster
from collector.metadata.names_connection import NamesSettings
from collector.metadata.names_journal import NamesJournal
from tests.agents import FIRESTEEL
from tests.fake_kube import PATHS, FakeKube, fake_kube, kubeconfig, pod
from tests.names_serving import Serving, api_of, serving
from tests.pages import promtool_check
from tests.servers import certificate, free_port
from tests.unit.test_kube_watch import NODE, SECOND, name_at, within

AGENT = "agent-token"
_LONG = 120.0
"""For a process that starts, answers or ends on a machine that is busy with other things."""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes minutes in a cluster, in tenths of seconds; a fall-back never comes unless a test wants it."""
    monkeypatch.setattr(names_client, "_FIRST_PAUSE", 0.1)
    monkeypatch.setattr(names_client, "_LONGEST_PAUSE", 0.4)
    monkeypatch.setattr(names_client, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(names_client, "_FIRST_FALLBACK", (3600, 3600))
    monkeypatch.setattr(names_client, "_LATER_FALLBACK", (3600, 3600))
    monkeypatch.setattr("collector.names_feed.HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setattr("collector.metadata.kube_watch._LONGEST_PAUSE", 0.4)


@contextmanager
def following(kube: FakeKube, place: str, *, token: str = AGENT, wait: bool = True) -> Iterator[Cluster]:
    cluster = Cluster(api_of(kube, token), NODE, 300 * SECOND, NamesSettings(place))
    cluster.start()
    try:
        assert not wait or within(lambda: cluster.is_complete), cluster.names
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def both(kube: FakeKube) -> Iterator[tuple[Serving, Cluster]]:
    with serving(kube) as service, following(kube, f"127.0.0.1:{service.port}") as cluster:
        yield service, cluster


@contextmanager
def a_cluster() -> Iterator[FakeKube]:
    with fake_kube() as kube:
        kube.accounts[AGENT] = {names_stream.PATH}
        kube.put("pods", pod("web-0", "10.1.0.1", "n2"))
        yield kube


def lists(kube: FakeKube) -> dict[str, int]:
    return {name: kube.asked(name, watch=False) for name in PATHS}


def filled(kube: FakeKube) -> list[tuple[str, int]]:
    """One of everything; answers what to ask for."""
    for number in range(40):
        node = NODE if number % 8 == 0 else f"n{number % 5}"
        kube.put("pods", pod(f"web-{number}", f"10.1.0.{number}", node, hostIP="10.0.0.7"))
    owner = {"kind": "ReplicaSet", "name": "cart-5d4f8c7b9", "uid": "rs", "controller": True}
    deployed = pod("cart-5d4f8c7b9-x2x4z", "10.1.1.1", "n2", podIPs=[{"ip": "10.1.1.1"}, {"ip": "fd00::1"}])
    deployed["metadata"]["ownerReferences"] = [owner]
    kube.put("pods", deployed)
    above = [{"kind": "Deployment", "name": "cart", "uid": "d", "controller": True}]
    kube.put(
        "replicasets",
        {"metadata": {"namespace": "shop", "name": "cart-5d4f8c7b9", "uid": "rs", "ownerReferences": above}},
    )
    kube.put("jobs", {"metadata": {"namespace": "shop", "name": "nightly-29", "uid": "job"}})
    kube.put(
        "services",
        {
            "metadata": {"namespace": "shop", "name": "web", "uid": "s"},
            "spec": {
                "clusterIP": "10.96.0.7",
                "clusterIPs": ["10.96.0.7", "fd96::7"],
                "ports": [{"port": 80, "nodePort": 30080}],
            },
        },
    )
    kube.put(
        "endpointslices",
        {
            "metadata": {
                "namespace": "shop",
                "name": "web-1",
                "uid": "e",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "endpoints": [{"addresses": ["10.1.0.2"], "targetRef": {"kind": "Pod", "uid": "uid-web-2"}}],
            "ports": [{"port": 8080}],
        },
    )
    for name in ("n0", "n1", "n2", "n3", "n4", NODE):
        address = f"10.0.0.{ord(name[-1])}"
        kube.put(
            "nodes",
            {
                "metadata": {"name": name, "uid": name},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            },
        )
    addresses = [f"10.1.0.{number}" for number in range(40)] + ["10.1.1.1", "10.96.0.7", "fd96::7", "192.0.2.1"]
    addresses += [f"10.0.0.{ord(name)}" for name in "01234"]
    return [(address, port) for address in addresses for port in (0, 80, 8080, 30080)]


def names_of(cluster: Cluster, asked: list[tuple[str, int]]) -> dict[tuple[str, int], Any]:
    names = ClusterNames(cluster.index)
    return {
        place: (
            names.address(*place), names.dialled(*place),
            [told for told in names.explained(*place) if "has been known for" not in told],
        )
        for place in asked
    }  # fmt: skip


def test_the_names_are_those_of_the_api() -> None:
    with a_cluster() as kube:
        asked = filled(kube)
        with both(kube) as (service, told), following(kube, "auto") as listed:
            told_by_service, told_by_api = names_of(told, asked), names_of(listed, asked)
            assert told_by_service == told_by_api
            assert sum(found[0] is not None for found in told_by_api.values()) == len(asked) - 4  # all but 192.0.2.1
            assert {state.name for state in told.states()} == {"pods"}
            assert told.knows_addresses()
            assert len(listed.states()) == 7
            assert within(lambda: service.feed.agents == 1)
            # What a table of pods does not say, the service does.
            dual = told.index.pod_at("fd00::1")
            assert dual is not None
            assert told.index.workload_of(dual).name == "cart"
            # Changes come through alike.
            kube.delete("pods", "shop/web-1")
            kube.put("pods", pod("heir-0", "10.1.0.1", "n3"))
            kube.delete("services", "shop/web")
            for cluster in (told, listed):
                assert within(partial(_has_heir, cluster))
            assert names_of(told, asked) == names_of(listed, asked)


def _has_heir(cluster: Cluster) -> bool:
    return name_at(cluster, "10.1.0.1") == "heir-0" and cluster.index.service_at("10.96.0.7") is None


def test_who_follows_asks_the_api_for_its_own_pods_only() -> None:
    with a_cluster() as kube, serving(kube) as service:
        assert within(lambda: service.feed.is_ready)
        before = lists(kube)
        with following(kube, f"127.0.0.1:{service.port}"):
            assert lists(kube) == {**before, "pods": before["pods"] + 1}
            assert {query["fieldSelector"] for _, query, _ in kube.requests if "fieldSelector" in query} == {
                f"spec.nodeName={NODE}"
            }


def test_after_a_break_it_goes_on_where_it_was() -> None:
    with a_cluster() as kube, serving(kube) as service, following(kube, f"127.0.0.1:{service.port}") as cluster:
        assert cluster.names is not None
        state = cluster.names
        kube.put("pods", pod("db-0", "10.1.0.2", "n2"))
        assert within(lambda: name_at(cluster, "10.1.0.2") == "db-0")
        before = lists(kube)
        # Every connection breaks, and what the service knows stays.
        service.feed.stop()
        assert within(lambda: not state.subscribed)
        kube.put("pods", pod("db-1", "10.1.0.3", "n2"))
        kube.delete("pods", "shop/web-0")
        service.feed._stopping = False
        assert within(lambda: name_at(cluster, "10.1.0.3") == "db-1" and "uid-web-0" in cluster.index._pods.gone)
        assert (state.wholes, state.resumed > 0, service.feed.counts.wholes) == (1, True, 1)
        assert lists(kube) == before


def test_another_service_tells_everything_anew_and_what_went_meanwhile_is_gone() -> None:
    with a_cluster() as kube:
        kube.put("pods", pod("web-1", "10.1.0.2", "n2"))
        with serving(kube) as first:
            port = first.port
            cluster = Cluster(api_of(kube, AGENT), NODE, 300 * SECOND, NamesSettings(f"127.0.0.1:{port}"))
            cluster.start()
            assert within(lambda: cluster.is_complete)
        try:
            assert within(lambda: bool(cluster.problems()))
            assert "names known until then stay" in cluster.problems()[0].what
            assert name_at(cluster, "10.1.0.1") == "web-0"
            kube.delete("pods", "shop/web-0")
            with serving(kube, port):
                assert within(lambda: "uid-web-0" in cluster.index._pods.gone)
                assert name_at(cluster, "10.1.0.2") == "web-1"
                assert "uid-web-1" not in cluster.index._pods.gone
                assert cluster.names is not None
                assert cluster.names.wholes == 2
                assert within(lambda: not cluster.problems())
        finally:
            cluster.stop()


def test_without_the_service_the_api_is_asked_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_client, "_FIRST_FALLBACK", (0.2, 0.3))
    monkeypatch.setattr(names_client, "_LATER_FALLBACK", (0.2, 0.3))
    with a_cluster() as kube, serving(kube) as first:
        port = first.port
    with a_cluster() as kube, following(kube, f"127.0.0.1:{port}") as cluster:
        names = cluster.names
        assert names is not None
        assert (name_at(cluster, "10.1.0.1"), names.fallbacks, len(cluster.states())) == ("web-0", 1, 7)
        (problem,) = [problem for problem in cluster.problems() if "names service" in problem.what]
        assert "the API server is asked instead" in problem.what
        with serving(kube, port):
            assert within(lambda: cluster.is_complete and names.subscribed and len(cluster.states()) == 1)
            kube.put("pods", pod("late-0", "10.1.0.9", "n2"))
            assert within(lambda: name_at(cluster, "10.1.0.9") == "late-0")
            assert not cluster.problems()
        assert within(lambda: len(cluster.states()) == 7)
        kube.put("pods", pod("later-0", "10.1.0.10", "n2"))
        assert within(lambda: name_at(cluster, "10.1.0.10") == "later-0")


def test_a_service_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte for so long: the connection is there, and nobody behind it."""
    monkeypatch.setattr(names_connection, "_SILENT_SECONDS", 1.0)
    monkeypatch.setattr(names_client, "_LATER_FALLBACK", (0.2, 0.3))
    with a_cluster() as kube, both(kube) as (_, cluster):
        assert cluster.names is not None
        names = cluster.names
        monkeypatch.setattr("collector.names_feed.HEARTBEAT_SECONDS", 3600.0)
        assert within(lambda: "timed out" in names.fault.lower(), 20)
        assert within(lambda: names.failures >= 1)


def test_a_service_that_does_not_hear_the_api_is_left_if_the_agent_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_client, "_LATER_FALLBACK", (0.2, 0.3))
    with a_cluster() as kube, both(kube) as (service, cluster):
        service.silent = 500.0
        assert within(lambda: len(cluster.states()) == 7 and cluster.is_complete)
        assert cluster.names is not None
        names = cluster.names
        assert within(lambda: "the API was not heard for 500 s" in names.fault)
        assert service.feed.counts.refused["not_ready"] > 0
        service.silent = 0.0
        assert within(lambda: names.subscribed and len(cluster.states()) == 1)


@pytest.mark.parametrize(("token", "told"), [("stranger", "401"), ("", "401"), ("other", "401")])
def test_a_wrong_token_is_refused_and_the_api_asked(monkeypatch: pytest.MonkeyPatch, token: str, told: str) -> None:
    monkeypatch.setattr(names_client, "_FIRST_FALLBACK", (0.2, 0.3))
    with a_cluster() as kube, serving(kube) as service:
        kube.accounts["other"] = {"/metrics"}
        with following(kube, f"127.0.0.1:{service.port}", token=token) as cluster:
            assert cluster.names is not None
            assert told in cluster.names.fault
            assert "nonResourceURL /names/v1/stream" in cluster.names.fault
            assert service.feed.counts.refused["token"] > 0
            assert name_at(cluster, "10.1.0.1") == "web-0"


@pytest.mark.parametrize(("agent", "service"), [((1, 2), (1, 1)), ((1, 1), (1, 2)), ((2, 3), (1, 2)), ((1, 2), (2, 3))])
def test_one_version_apart_is_understood(
    monkeypatch: pytest.MonkeyPatch, agent: tuple[int, int], service: tuple[int, int]
) -> None:
    assert names_stream.agreed(agent, service) == min(agent[1], service[1])
    # Both are in this process: told apart by who asks.
    monkeypatch.setattr(
        names_stream, "spoken", lambda: agent if threading.current_thread().name == "kube-names" else service
    )
    with a_cluster() as kube, both(kube) as (_, cluster):
        assert name_at(cluster, "10.1.0.1") == "web-0"


def test_two_versions_apart_is_refused_and_the_api_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_client, "_FIRST_FALLBACK", (0.2, 0.3))
    monkeypatch.setattr(
        names_stream, "spoken", lambda: (2, 3) if threading.current_thread().name == "kube-names" else (1, 1)
    )
    assert names_stream.agreed((2, 3), (1, 1)) == 0
    with a_cluster() as kube, both(kube) as (service, cluster):
        assert cluster.names is not None
        assert "bring agent and names service to one version" in cluster.names.fault
        assert service.feed.counts.refused["version"] > 0
        assert name_at(cluster, "10.1.0.1") == "web-0"


def test_a_later_minor_may_tell_more() -> None:
    """Kinds and fields that this version does not know."""
    known = names_stream.row("nodes", "n1", NodeRecord("n1", ("10.0.0.1",)))
    assert names_stream.read([*known, {"zone": "a"}, 7]) == ("nodes", "n1", NodeRecord("n1", ("10.0.0.1",)))
    assert names_stream.read(["gateways", "x", 1]) is None
    for wrong in (
        [],
        ["nodes"],
        7,
        ["nodes", "n1", 1],
        ["pods", "u", "shop"],
        ["endpointslices", "k", 1, 2, 3, [[1]], []],
    ):
        with pytest.raises(names_stream.Garbled):
            names_stream.read(wrong)


def test_frames_come_in_any_pieces_and_garbage_is_refused() -> None:
    bodies: list[dict[str, object]] = [{"at": number, "rows": [["nodes", "n" * number]]} for number in range(20)]
    data = b"".join(names_stream.frame(body) for body in bodies)
    for size in (1, 3, 64, len(data)):
        unpacker = names_stream.Unpacker()
        assert [b for start in range(0, len(data), size) for b in unpacker.feed(data[start : start + size])] == bodies
    bomb = zlib.compress(b"0" * (names_stream.LARGEST_FRAME + 1))
    odd: list[Any] = [[], {}]
    for wrong in (
        b"\xff\xff\xff\xff",
        b"\0\0\0\x04abcd",
        len(bomb).to_bytes(4, "big") + bomb,
        *map(names_stream.frame, odd),
    ):
        with pytest.raises(names_stream.Garbled):
            list(names_stream.Unpacker().feed(wrong))


def test_the_history_is_bounded_and_who_lacks_some_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.metadata.names_journal.HISTORY_BYTES", 100_000)
    journal, ats, rnd = NamesJournal(), [0], random.Random(7)
    while journal.after(0) is not None:
        for number in range(10):
            journal.put_pod(PodRecord(f"uid-{number}", "shop", rnd.randbytes(1000).hex(), "n2", None))
        assert journal.pack()
        ats.append(journal.at)
    assert 50_000 < journal.history[1] <= 100_000
    assert journal.after(journal.at) == []
    assert journal.after(journal.at + 1) is None
    kept = [at for at in ats if journal.after(at)]
    assert kept == ats[-1 - journal.history[0] : -1]
    for at in kept:
        changes = journal.after(at) or []
        assert [at, *(change.at for change in changes[:-1])] == [change.since for change in changes]
        assert changes[-1].at == journal.at


def test_a_storm_of_410_costs_the_agents_nothing() -> None:
    with a_cluster() as kube, both(kube) as (_, cluster):
        for number in range(10):
            kube.put("pods", pod(f"db-{number}", f"10.1.2.{number}", "n2"))
            kube.forget()
        kube.delete("pods", "shop/web-0")
        kube.forget()
        assert within(lambda: name_at(cluster, "10.1.2.9") == "db-9" and "uid-web-0" in cluster.index._pods.gone)
        assert cluster.names is not None
        assert (cluster.names.wholes, cluster.names.failures, cluster.names.fallbacks) == (1, 0, 0)


def comes_up(process: subprocess.Popen[str], is_ready: Callable[[], bool]) -> bool:
    """At once False where it ended instead."""
    return within(lambda: process.poll() is not None or is_ready(), _LONG) and process.poll() is None


@pytest.mark.timeout(3 * _LONG)
def test_the_command_serves_agents_over_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    port, pages = free_port(), free_port()
    with a_cluster() as kube:
        kube.token = "secret"
        asked = filled(kube)
        settings = (
            f"kubernetes.kubeconfig={kubeconfig(tmp_path, kube.port)}", f"listen.names=127.0.0.1:{port}",
            f"listen.metrics=127.0.0.1:{pages}", f"listen.tls.cert={cert}", f"listen.tls.key={key}",
        )  # fmt: skip
        command = [*FIRESTEEL, "names", *(part for setting in settings for part in ("--set", setting))]
        trusted = ssl.create_default_context(cafile=cert)

        def get(path: str) -> str:
            with urllib.request.urlopen(f"https://127.0.0.1:{pages}{path}", timeout=_LONG, context=trusted) as answer:
                return str(answer.read().decode())

        def ready() -> bool:
            with suppress(OSError):
                return bool(json.loads(get("/readyz"))["status"] == "ok")
            return False

        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert comes_up(process, ready), process.poll()
                place = NamesSettings(f"localhost:{port}", ca=str(cert), token=str(tmp_path / "token"))
                (tmp_path / "token").write_text(AGENT)
                cluster = Cluster(api_of(kube, "secret"), NODE, 300 * SECOND, place)
                cluster.start()
                try:
                    assert within(lambda: cluster.is_complete, _LONG), cluster.names
                    assert cluster.index.service_at("10.96.0.7") is not None
                    assert names_of(cluster, asked)[asked[4]][0] is not None
                    page = get("/metrics")
                    assert "firesteel_names_agents 1.0" in page
                    assert 'firesteel_names_objects{resource="pods"} 41.0' in page
                    assert 'firesteel_names_streams_total{how="whole"} 1.0' in page
                    assert promtool_check(page) == []
                    assert cluster.names is not None
                    assert cluster.names.subscribed
                finally:
                    cluster.stop()
                stranger = Cluster(
                    api_of(kube, "secret"),
                    NODE,
                    300 * SECOND,
                    NamesSettings(f"localhost:{port}", ca=str(_another_authority(tmp_path))),
                )
                stranger.start()
                try:
                    assert within(
                        lambda: "CERTIFICATE_VERIFY_FAILED" in (stranger.names.fault if stranger.names else ""), _LONG
                    )
                finally:
                    stranger.stop()
            finally:
                process.send_signal(signal.SIGTERM)
                _, told = process.communicate(timeout=_LONG)
        assert (process.returncode, "Traceback" in told) == (0, False), told


@pytest.mark.timeout(3 * _LONG)
@pytest.mark.parametrize("gate", ["none", "kubernetes", "file"])
def test_its_page_is_for_those_that_the_configuration_admits(gate: str, tmp_path: Path) -> None:
    """By the same key as an agent's; how it stands is for everybody, as the kubelet shows no token."""
    cert, key = certificate(tmp_path)
    port, pages = free_port(), free_port()
    file = tmp_path / "scrapers"
    file.write_text("a-token-in-a-file")
    with a_cluster() as kube:
        kube.token = "secret"
        kube.accounts["a-scrapers-token"] = {"/metrics"}
        settings = (
            f"kubernetes.kubeconfig={kubeconfig(tmp_path, kube.port)}", f"listen.names=127.0.0.1:{port}",
            f"listen.metrics=127.0.0.1:{pages}", f"listen.tls.cert={cert}", f"listen.tls.key={key}",
            f"listen.metrics_auth={file if gate == 'file' else gate}",
        )  # fmt: skip
        command = [*FIRESTEEL, "names", *(part for setting in settings for part in ("--set", setting))]
        trusted = ssl.create_default_context(cafile=cert)

        def status(path: str, token: str = "", host: str = "localhost") -> int:
            headers = {"Host": host} | ({"Authorization": f"Bearer {token}"} if token else {})
            asked = urllib.request.Request(f"https://127.0.0.1:{pages}{path}", headers=headers)
            try:
                with urllib.request.urlopen(asked, timeout=_LONG, context=trusted) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code
            except OSError:
                return 0

        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert comes_up(process, lambda: status("/readyz") == 200), process.poll()
                tokens = ("", AGENT, "a-scrapers-token", "a-token-in-a-file")
                told = {token: status("/metrics", token) for token in tokens}
                assert status("/healthz") == 200
                # A web page elsewhere whose name was made to resolve to loopback.
                rebound = [status(path, tokens[-1], "rebound.example") for path in ("/metrics", "/healthz", "/readyz")]
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=_LONG)
    admitted = {"none": set(tokens), "kubernetes": {"a-scrapers-token"}, "file": {"a-token-in-a-file"}}[gate]
    assert told == {token: 200 if token in admitted else 401 for token in tokens}
    assert rebound == [421, 421, 421]


def _another_authority(folder: Path) -> Path:
    other = folder / "other"
    other.mkdir()
    return certificate(other)[0]


def test_the_newest_state_is_told_once() -> None:
    journal = NamesJournal()
    for number in range(5):
        journal.put_pod(PodRecord("u", "shop", f"web-{number}", "n2", None))
    journal.put_pod(PodRecord("u", "shop", "web-4", "n2", None))
    journal.put_node(NodeRecord("n1", ()))
    journal.drop_node("n1")
    assert journal.pack()
    assert not journal.pack()
    changes = journal.after(0)
    assert changes is not None
    (change,) = changes
    (body,) = names_stream.Unpacker().feed(change.packed)
    assert [names_stream.read(entry) for entry in body["rows"]] == [
        ("pods", "u", PodRecord("u", "shop", "web-4", "n2", None)),
        ("nodes", "n1", None),
    ]


def test_auto_finds_the_service_of_its_own_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_place, "_NAMESPACE_FILE", tmp_path / "namespace")
    (tmp_path / "namespace").write_text("monitoring\n")
    with a_cluster() as kube, serving(kube) as service:
        spec = {
            "clusterIP": "127.0.0.1",
            "ports": [{"name": "web", "port": 1}, {"name": "names", "port": service.port}],
        }
        named = {"namespace": "monitoring", "name": "firesteel-names", "uid": "fs"}
        kube.put("services", {"metadata": named, "spec": spec})
        with following(kube, "auto") as cluster:
            assert cluster.names is not None
            assert (cluster.names.place, cluster.names.subscribed) == (f"127.0.0.1:{service.port}", True)
            assert name_at(cluster, "10.1.0.1") == "web-0"
