"""Hooks of mkdocs: README.md is the first page of the site, and files of the clone that the pages link come along.

Links of the pages are those of a clone (``../examples/recommend.py``), so they work on a code host and on disk. In the
site such a file lies under ``files/``, a page under its own name, and a folder is plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(!?)\[([^]]*)\]\((?!https?:|#)([^)#\s]+)((?:#[^)\s]*)?)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the first page, and the linked files."""
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text(encoding="utf-8")))
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        for _, _, path, _ in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / path).resolve()
            place = _place(target)
            if place and place.startswith("files/") and files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Make the links those of the site."""
    folder = ROOT if page.file.src_uri == "index.md" else ROOT / "docs"

    def linked(found: re.Match[str]) -> str:
        picture, text, path, anchor = found.groups()
        place = _place((folder / path).resolve())
        return text if place is None else f"{picture}[{text}]({place}{anchor})"

    return LINK.sub(linked, markdown)


def _place(target: Path) -> str | None:
    """Where a file of the clone lies in the site; None for a folder."""
    if target.is_dir():
        return None
    path = target.relative_to(ROOT).as_posix()
    if path == "README.md":
        return "index.md"
    if posixpath.dirname(path) == "docs":
        return posixpath.basename(path)
    return f"files/{path}" + (".txt" if path.endswith(".md") else "")
