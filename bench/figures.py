"""Puts the last measured figures into ``docs/ingestion.md``: ``python -m bench.figures``.

Owns: the block between the two marks, and nothing else of the document.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "bench" / "results" / "latest.json"
DOCUMENT: Final = ROOT / "docs" / "ingestion.md"
BLOCK: Final = re.compile(r"(<!-- figures -->\n)(.*?)(<!-- /figures -->)", re.DOTALL)
NOTHING: Final = "Not measured yet.\n"


def figures(results: Path) -> str:
    """The block for results that ``bench.run`` kept; a sentence when there are none."""
    if not results.exists():
        return NOTHING
    kept = json.loads(results.read_text())
    return f"{_heading(kept['about'])}\n\n{_table(kept['results'])}\n"


def put(document: str, block: str) -> str:
    """The document with this block between its marks."""
    if not BLOCK.search(document):
        raise ValueError("the document has no marks for figures")
    return BLOCK.sub(lambda found: f"{found[1]}{block}{found[3]}", document)


def _heading(about: dict[str, Any]) -> str:
    seconds = about["seconds_per_scenario"]
    return (
        f"Measured {about['when']} on {about['machine']}, {seconds:g} s each. The load generator\n"
        "runs on the same machine and is included. *Home-made* is what engineers build first:\n"
        "FastAPI and PostgreSQL, one unique row and one counter for each event."
    )


def _table(results: list[dict[str, Any]]) -> str:
    lines = ["| work | Tallystick | home-made |", "|---|---|---|"]
    lines += [f"| {r['work']} | {r['tallystick']} | {r['home_made']} |" for r in results]
    return "\n".join(lines)


def main() -> None:
    """Write the figures into the document."""
    DOCUMENT.write_text(put(DOCUMENT.read_text(), figures(RESULTS)))


if __name__ == "__main__":
    main()
