# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus over pages with times, and what Grafana would ask it for a dashboard."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.servers import MissingProgram

Json = dict[str, Any]
DASHBOARDS: Final = Path(__file__).parents[2] / "grafana-plugin" / "dashboards"
_NAME: Final = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingProgram(f"{name} is missing: install the Debian package prometheus")
    return found


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str
    now: int

    def ask(self, expr: str, at: int | None = None) -> list[Json]:
        """The instant vector of an expression. Raises AssertionError with Prometheus' own words."""
        query = urllib.parse.urlencode({"query": expr, "time": self.now if at is None else at})
        request = urllib.request.Request(f"{self.url}/api/v1/query", query.encode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expr}\n{error.read().decode()}") from error
        result = told["data"]["result"]
        return result if isinstance(result, list) else [result]

    def label_values(self, query: str) -> list[str]:
        """As Grafana's label_values(selector, label)."""
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert found, query
        match = urllib.parse.urlencode({"match[]": found[1], "start": self.now - 7200, "end": self.now})
        with urllib.request.urlopen(f"{self.url}/api/v1/label/{found[2]}/values?{match}", timeout=30) as answer:
            return list(json.load(answer)["data"])


def openmetrics(pages: Iterable[tuple[int, str]], added: Mapping[str, str]) -> str:
    """All samples with their times and the labels of the scrape, and `up`, as promtool's backfilling reads them."""
    labels = ",".join(f'{name}="{value}"' for name, value in added.items())
    by_name: dict[str, list[str]] = {}
    for when, page in pages:
        by_name.setdefault("up", []).append(f"up{{{labels}}} 1 {when}")
        for line in page.splitlines():
            if line and not line.startswith("#"):
                found = _NAME.match(line)
                assert found, line
                rest = line[found.end() :]
                text = f"{{{labels}," + rest if found[2] else f"{{{labels}}}" + rest
                by_name.setdefault(found[1], []).append(f"{found[1]}{text} {when}")
    lines = [line for name in sorted(by_name) for line in by_name[name]]
    return "\n".join([*lines, "# EOF", ""])


@contextmanager
def serving(text: str, folder: Path, port: int, now: int) -> Iterator[Prometheus]:
    source = folder / "samples.om"
    source.write_text(text, encoding="utf-8")
    data = folder / "data"
    made = subprocess.run(
        [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(source), str(data)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    config = folder / "prometheus.yml"
    config.write_text("global: {scrape_interval: 1h}\n", encoding="utf-8")
    with (folder / "prometheus.log").open("w") as log:
        running = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=20y",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/-/ready", running, folder / "prometheus.log")
        yield Prometheus(url, now)
    finally:
        running.terminate()
        running.wait(20)


def _wait(url: str, running: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 40
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < end, f"{url} does not answer\n{log.read_text()}"
            time.sleep(0.2)


def dashboard(uid: str) -> Json:
    return dict(json.loads((DASHBOARDS / f"{uid}.json").read_text(encoding="utf-8")))


def interpolated(expr: str, board: Json, **chosen: str) -> str:
    """An expression as Grafana sends it: variables at All, or at their first choice, unless `chosen`."""
    values = {"__rate_interval": "4m", "__range": "1h"}
    for variable in board["templating"]["list"]:
        if variable["type"] == "custom":
            values[variable["name"]] = variable["options"][0]["value"]
        elif variable["type"] == "query":
            values[variable["name"]] = variable["allValue"] or ""
    values |= chosen
    return re.sub(r"\$([a-z_]\w*)", lambda found: values[found[1]], expr)


def panels(board: Json) -> Iterator[tuple[Json, Json]]:
    """(panel, target) of every query."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel, target


def frame(name: str, vector: Iterable[Json]) -> Json:
    """What Grafana's data source makes of an instant vector in table format: a field for each label, and Value."""
    rows = list(vector)
    labels = sorted({label for row in rows for label in row["metric"]})
    fields: list[Json] = [
        {"name": "Time", "type": "time", "values": [round(row["value"][0] * 1000) for row in rows]},
        *(
            {"name": label, "type": "string", "values": [row["metric"].get(label, "") for row in rows]}
            for label in labels
        ),
        {"name": "Value", "type": "number", "values": [float(row["value"][1]) for row in rows]},
    ]
    return {"refId": name, "fields": fields}
