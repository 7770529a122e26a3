# SPDX-License-Identifier: Apache-2.0
"""`python -m exporters.grafana [--check] [--prefix NAME] [FOLDER]` writes dashboards and rules out of the registry.

--check changes nothing and fails if a file is not what the registry says. --prefix is for another `metrics.prefix`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import yaml

from exporters.grafana.boards import plain_boards
from exporters.grafana.panels import dashboard_json
from exporters.grafana.rules import Rules, rules_json
from exporters.grafana.topology_boards import TopologyBoards

DASHBOARDS: Final = Path("grafana-plugin/dashboards")
RULES: Final = Path("deploy/prometheus/firesteel-rules.yaml")
_HEAD: Final = (
    "# SPDX-License-Identifier: Apache-2.0\n# Made by make dashboards (exporters/grafana/rules.py). Do not edit.\n"
)


def files(prefix: str = "kindling") -> dict[Path, str]:
    """Path below the repository -> text."""
    boards = (*TopologyBoards(prefix).all(), *plain_boards(prefix))
    made = {
        DASHBOARDS / f"{board.uid}.json": json.dumps(dashboard_json(board), indent=2, ensure_ascii=False) + "\n"
        for board in boards
    }
    made[RULES] = _HEAD + yaml.safe_dump(rules_json(Rules(prefix)), sort_keys=False, width=200, allow_unicode=True)
    return made


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m exporters.grafana")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--prefix", default="kindling", help="metrics.prefix of the agents (default: kindling)")
    parser.add_argument("folder", nargs="?", default=".", type=Path)
    wished = parser.parse_args(arguments)
    stale = [path for path, text in files(wished.prefix).items() if _differs(wished.folder / path, text)]
    for path in stale:
        if wished.check:
            print(f"{path} is not what the registry says: make dashboards", file=sys.stderr)
        else:
            (wished.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (wished.folder / path).write_text(files(wished.prefix)[path], encoding="utf-8")
            print(f"wrote {path}")
    return 1 if stale and wished.check else 0


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text(encoding="utf-8") != text


if __name__ == "__main__":
    sys.exit(main())
