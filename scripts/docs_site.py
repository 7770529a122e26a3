# SPDX-License-Identifier: Apache-2.0
"""What mkdocs is told on the way (mkdocs.yml, hooks): links out of docs/ and pages that the navigation does not name.

Documents are read on a code host as well, where links lead to any file of the repository. The site has docs/ only: there such
a link becomes the file's path, and a path that does not exist ends the build.
"""

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
_LINK: Final = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)]*)?\)")
_FOLDERS: Final = {"decisions": "Decisions", "runbooks": "Runbooks"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the pages of decisions/ and runbooks/, and at the end whatever else is not in the navigation."""
    nav: list[Any] = list(config.nav or [])
    for folder, title in _FOLDERS.items():
        pages = [_page(path) for path in sorted((DOCS / folder).glob("*.md")) if path.stem != "template"]
        nav.append({title: pages})
    named = set(_paths(nav))
    rest = [path for path in sorted(DOCS.rglob("*.md")) if _name(path) not in named and path.stem != "template"]
    if rest:
        nav.append({"More": [_page(path) for path in rest]})
    config.nav = nav
    return config


def on_page_markdown(markdown: str, page: Any, **_others: Any) -> str:
    """The page's text with every link that leads out of docs/ as a path."""
    folder = (DOCS / page.file.src_uri).parent

    def replaced(found: re.Match[str]) -> str:
        target = found["target"]
        if re.match(r"[a-z]+:", target):
            return found[0]
        path = (folder / target).resolve()
        if not path.exists():
            raise PluginError(f"{page.file.src_uri}: there is no {target}")
        if not path.is_relative_to(DOCS):
            name = str(path.relative_to(ROOT))
            return (
                f"`{name}`"
                if found["text"].strip("`") in {name, path.name, f"{path.name}/"}
                else f"{found['text']} (`{name}`)"
            )
        if path.is_dir():
            return f"[{found['text']}]({target.rstrip('/')}/{min(path.glob('*.md')).name})"
        return found[0]

    return _LINK.sub(replaced, markdown)


def _paths(nav: Any) -> list[str]:
    """Every page of a navigation, at whatever depth."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [path for part in parts for path in _paths(part)]


def _page(path: Path) -> dict[str, str]:
    heading = re.search(r"^# (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {heading[1] if heading else path.stem: _name(path)}


def _name(path: Path) -> str:
    return path.relative_to(DOCS).as_posix()
