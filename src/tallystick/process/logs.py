"""Log lines: on stderr, one line each, with the process they come from."""

from __future__ import annotations

import logging
import sys


def start_logging(level: str, process: str) -> None:
    """Send records of ``level`` and above to stderr."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format=f"%(asctime)s %(levelname)s {process} %(message)s",
    )
