"""A limit has one home, ``limits.py``; what only looks like one says here why it does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.tidy.source import Module, modules

HOME: Final = "limits.py"
LOOKS_LIKE_ONE: Final = re.compile(r"_(MAX|MIN|DEFAULT|SECONDS|ROWS|MIB|BYTES|KEYS|STEPS|TRIES)$")

SYSTEM: Final = "what operating systems take"
FORMAT: Final = "the format of a file: another value is another format"
COST: Final = "how an algorithm goes about it: it moves costs and bounds nothing"
POLL: Final = "how often something is looked at again"
NUMBERS: Final = "follows from how numbers are stored"
CALENDAR: Final = "the calendar's own"
TEXT: Final = "the length of a text that people read"

ELSEWHERE: Final = {
    ("api/docs_page.py", "_DEPTH_MAX"): TEXT,
    ("api/gathering.py", "_RETRY_SECONDS"): POLL,
    ("api/http.py", "_QUERY_REMEMBERED_BYTES"): COST,
    ("api/queries.py", "_LENGTH_BYTES"): FORMAT,
    ("api/metrics.py", "_SHARE_SECONDS"): POLL,
    ("api/tally.py", "_POLL_SECONDS"): POLL,
    ("archive/merge.py", "_TIER_ROWS"): COST,
    ("archive/query.py", "_INTERRUPT_AGAIN_SECONDS"): POLL,
    ("archive/relation.py", "ROW_GROUP_ROWS"): FORMAT,
    ("archive/reports.py", "PAGE_ROWS"): COST,
    ("cli/imports.py", "_OWNER_ASKED_SECONDS"): POLL,
    ("cli/imports.py", "_POLL_SECONDS"): POLL,
    ("cli/progress.py", "_PAUSE_SECONDS"): POLL,
    ("objects/cutting.py", "_CACHED_BYTES"): COST,
    ("core/numbers.py", "_INT64_MAX"): NUMBERS,
    ("core/numbers.py", "PLAIN_EXPONENT_MAX"): NUMBERS,
    ("core/periods.py", "_BOUNDARIES_MAX"): "what arithmetic remembers, beside it",
    ("core/periods.py", "_MONTH_MAX"): CALENDAR,
    ("core/periods.py", "_MONTH_MIN"): CALENDAR,
    ("core/periods.py", "_ORDINAL_MAX"): CALENDAR,
    ("fold/standing.py", "STANDING_MAX"): "what a step remembers, beside it",
    ("fold/customers.py", "KNOWN_CUSTOMERS_MAX"): "what a step remembers, beside it",
    ("fold/worker.py", "SCRATCH_STEPS"): "follows from the largest step",
    ("freshness.py", "_READS_MAX"): POLL,
    ("ingest/fields.py", "_PROBLEMS_OF_ITEM_MAX"): TEXT,
    ("ingest/literals.py", "_INT64_MAX"): NUMBERS,
    ("ingest/literals.py", "_FLOAT_CHARS_MAX"): NUMBERS,
    ("ingest/strict.py", "_SHOWN_CHARS_MAX"): TEXT,
    ("ingest/usage.py", "_INTEGER_EXPONENT_MAX"): NUMBERS,
    ("ingest/usage.py", "_INTEGER_MAX"): NUMBERS,
    ("keys/filters.py", "_PUT_KEYS"): COST,
    ("keys/runs.py", "SMALL_RUN_BYTES"): COST,
    ("keys/runs.py", "_BLOCK_BYTES"): FORMAT,
    ("keys/runs.py", "_FENCE_BYTES"): FORMAT,
    ("keys/runs.py", "_FENCE_KEYS"): FORMAT,
    ("keys/runs.py", "_HEADER_BYTES"): FORMAT,
    ("keys/runs.py", "_KEY_BYTES"): FORMAT,
    ("keys/runs.py", "_SCAN_KEYS"): COST,
    ("keys/runs.py", "_WINDOW_KEYS"): FORMAT,
    ("keys/summary.py", "KEYS_MIN"): COST,
    ("keys/summary.py", "_BITS_PER_KEY_MIN"): COST,
    ("local_socket.py", "_NAME_BYTES_MAX"): SYSTEM,
    ("metering/aggregate.py", "_RANGES_PER_KEY_MAX"): COST,
    ("metering/compile.py", "_GROUP_METERS_MAX"): COST,
    ("metering/compile.py", "_NAMES_SPELLED_MAX"): COST,
    ("metering/numerals.py", "_ADJUSTED_MAX"): NUMBERS,
    ("metering/numerals.py", "_ADJUSTED_MIN"): NUMBERS,
    ("metering/placing.py", "LISTED_MAX"): COST,
    ("objects/csv_rows.py", "CLOSER_ROWS"): COST,
    ("objects/decompressing.py", "_OUTPUT_BYTES"): COST,
    ("objects/decompressing.py", "_PART_BYTES"): COST,
    ("objects/decompressing.py", "_ZSTD_SLICE_BYTES"): COST,
    ("objects/feed.py", "_POLL_SECONDS"): POLL,
    ("objects/share.py", "_LOOK_SECONDS"): POLL,
    ("objects/folders.py", "_SETTLING_POLL_SECONDS"): POLL,
    ("objects/folders.py", "_SETTLING_SLACK_SECONDS"): POLL,
    ("objects/ndjson.py", "CLOSER_ROWS"): COST,
    ("objects/trial.py", "REASONS_SHOWN_MAX"): TEXT,
    ("process/owner.py", "_RETRY_SECONDS"): POLL,
    ("store/postgres.py", "_POLL_SECONDS"): POLL,
    ("store/postgres_link.py", "_PREPARED_MAX"): COST,
    ("process/supervisor.py", "_POLL_SECONDS_MAX"): POLL,
    ("settings.py", "_MIB"): "a unit",
    ("store/sqlite.py", "_RETRY_SECONDS"): POLL,
    ("usage/report.py", "TOTAL_MAX"): NUMBERS,
    ("verify/verify.py", "_SECONDS_MAX"): POLL,
    ("verify/verify.py", "_SNAPSHOT_TRIES"): POLL,
}


def constants(module: Module) -> Iterator[str]:
    """Its own constants that hold no text."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and not _is_text(node.value):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id.isupper():
                yield target.id


def _is_text(value: ast.expr | None) -> bool:
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str)
    )


def test_limits_live_in_their_home() -> None:
    found = {
        (module.name, name)
        for module in modules()
        if module.name != HOME
        for name in constants(module)
        if LOOKS_LIKE_ONE.search(name)
    }
    assert found - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() - found == set(), "what is gone needs no reason"
