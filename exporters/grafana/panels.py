# SPDX-License-Identifier: Apache-2.0
"""Panels and dashboards as Grafana's JSON, schema of 10.4. Nothing here knows a metric.

Model: https://grafana.com/docs/grafana/v10.4/dashboards/build-dashboards/view-dashboard-json-model/.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

Json = dict[str, Any]

SCHEMA: Final = 39
WIDTH: Final = 24
SOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """`name` is the refId; `legend` may hold {{label}}. A table is what one instant says."""

    expr: str
    legend: str = ""
    name: str = ""
    table: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit` is Grafana's id of a unit. `help` says what a person should do with the panel."""

    title: str
    kind: str
    queries: tuple[Query, ...]
    help: str
    unit: str = "short"
    width: int = 12
    height: int = 8
    options: Mapping[str, Any] = field(default_factory=dict)
    custom: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[tuple[float | None, str], ...] = ()
    transformations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A list of label values out of `query`, or fixed `choices` of (text, value)."""

    name: str
    label: str
    query: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    all: bool = False
    regex: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]


def series(title: str, help: str, *queries: Query, unit: str = "short", **more: Any) -> Panel:  # noqa: A002
    """Lines over time."""
    custom = {"fillOpacity": 8, "showPoints": "never", "lineWidth": 1, **more.pop("custom", {})}
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(title, "timeseries", queries, help, unit, options=options, custom=custom, **more)


def stat(title: str, help: str, query: Query, *, unit: str = "short", width: int = 4, **more: Any) -> Panel:  # noqa: A002
    """One number, and a line behind it."""
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area"}
    return Panel(title, "stat", (query,), help, unit, width, 4, options=options, **more)


def table(
    title: str,
    help: str,  # noqa: A002
    *queries: Query,
    names: Mapping[str, str] | None = None,
    **more: Any,
) -> Panel:
    """Rows of labels with a column for each query; `names` renames columns, and "" hides one."""
    renamed = names or {}
    organize: Json = {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True, **{name: True for name, text in renamed.items() if not text}},
            "renameByName": {name: text for name, text in renamed.items() if text},
        },
    }
    steps: tuple[Json, ...] = ({"id": "merge", "options": {}}, organize) if len(queries) > 1 else (organize,)
    asked = tuple(replace(query, table=True) for query in queries)
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}}
    return Panel(title, "table", asked, help, transformations=steps, options=options, width=WIDTH, **more)


def dashboard_json(board: Dashboard) -> Json:
    panels: list[Json] = []
    y = 0
    for row in board.rows:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
                "panels": [],
            }
        )
        y = _place(row.panels, panels, y + 1)
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["firesteel"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "timezone": "",
        "time": {"from": "now-1h", "to": "now"},
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "Firesteel",
                "tags": ["firesteel"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_source_variable(), *(_variable(variable) for variable in board.variables)]},
        "panels": panels,
    }


def _place(row: Sequence[Panel], panels: list[Json], y: int) -> int:
    """From left to right, and on to the next line when one is full. Returns where the next row begins."""
    x = height = 0
    for panel in row:
        if x + panel.width > WIDTH:
            y += height
            x = height = 0
        panels.append(_panel(panel, len(panels) + 1, x, y))
        x += panel.width
        height = max(height, panel.height)
    return y + height


def _panel(panel: Panel, number: int, x: int, y: int) -> Json:
    steps = [{"value": value, "color": colour} for value, colour in panel.steps or ((None, "blue"),)]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "targets": [_target(query, at) for at, query in enumerate(panel.queries)],
        "options": dict(panel.options),
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "custom": dict(panel.custom),
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "transformations": [dict(step) for step in panel.transformations],
    }


def _target(query: Query, at: int) -> Json:
    target: Json = {
        "refId": query.name or chr(ord("A") + at),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": query.table,
        "range": not query.table,
        "format": "table" if query.table else "time_series",
    }
    return target


def _source_variable() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}


def _variable(variable: Variable) -> Json:
    base: Json = {"name": variable.name, "label": variable.label, "hide": 0}
    if variable.choices:
        options = [
            {"text": text, "value": value, "selected": at == 0} for at, (text, value) in enumerate(variable.choices)
        ]
        spelled = [f"{text} : {value}".replace(",", "\\,") for text, value in variable.choices]
        return {
            **base,
            "type": "custom",
            "query": ", ".join(spelled),
            "options": options,
            "current": options[0],
        }
    every = {"text": "All", "value": "$__all"}
    return {
        **base,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "regex": variable.regex,
        "refresh": 2,
        "sort": 1,
        "multi": variable.all,
        "includeAll": variable.all,
        # Also matches series without the label, as in a single cluster without metrics.cluster_label.
        "allValue": ".*" if variable.all else None,
        "current": every if variable.all else {},
    }
