"""``make demo``: a newcomer's first minute works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_everything_sent_is_counted_once_and_somebody_is_denied() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "ONCE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "`tallystick verify` proves: equal" in told.stdout
    assert "as sent" in told.stdout
    assert "DENIED: RequestedUsageExceedingLimit" in told.stdout
    assert "WRONG" not in told.stdout
