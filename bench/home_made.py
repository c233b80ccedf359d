"""What engineers build at home: FastAPI, asyncpg, PostgreSQL. The baseline of the bench.

Owns: one FastAPI application, and starting it with a PostgreSQL of its own (fsync on) as child
processes. It is meant to be a *good* version of the obvious design: one row per event with a unique
key, one counter row per (customer, event name, month) that serves three meters (count, sum, max),
both written set-wise by one statement in one transaction per request, prepared statements, a
connection pool, uvloop and httptools. What it leaves out: everything the product does beyond that.

    python -m bench.home_made --port 8090        runs until it is told to stop
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from bench.postgres import PostgresServer

DSN_VARIABLE = "HOME_MADE_DSN"
POOL_CONNECTIONS = 16

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    customer_id text        NOT NULL,
    event_name  text        NOT NULL,
    key         text        NOT NULL,
    happened_at timestamptz NOT NULL,
    dimensions  jsonb       NOT NULL,
    PRIMARY KEY (customer_id, event_name, key)
);
CREATE TABLE IF NOT EXISTS counters (
    customer_id text    NOT NULL,
    event_name  text    NOT NULL,
    month       date    NOT NULL,
    count       bigint  NOT NULL,
    tokens_sum  numeric NOT NULL,
    tokens_max  numeric NOT NULL,
    PRIMARY KEY (customer_id, event_name, month)
);
CREATE TABLE IF NOT EXISTS limits (
    customer_id text   NOT NULL,
    event_name  text   NOT NULL,
    usage_limit bigint NOT NULL,
    PRIMARY KEY (customer_id, event_name)
);
"""

# Stores the events that are new and adds them to their counters; ordered, so that two requests
# never wait for each other's rows in a circle.
INGEST = """
WITH fresh AS (
    INSERT INTO events (customer_id, event_name, key, happened_at, dimensions)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::jsonb[])
        AS sent (customer_id, event_name, key, happened_at, dimensions)
    ORDER BY 1, 2, 3
    ON CONFLICT DO NOTHING
    RETURNING customer_id, event_name, happened_at, (dimensions ->> 'tokens')::numeric AS tokens
)
INSERT INTO counters (customer_id, event_name, month, count, tokens_sum, tokens_max)
SELECT customer_id, event_name, date_trunc('month', happened_at AT TIME ZONE 'UTC')::date,
       count(*), coalesce(sum(tokens), 0), coalesce(max(tokens), 0)
FROM fresh GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (customer_id, event_name, month) DO UPDATE
SET count = counters.count + excluded.count,
    tokens_sum = counters.tokens_sum + excluded.tokens_sum,
    tokens_max = greatest(counters.tokens_max, excluded.tokens_max)
"""

# A usage report is an event whose value is added: one row, one upsert, one transaction.
REPORT = """
WITH fresh AS (
    INSERT INTO events (customer_id, event_name, key, happened_at, dimensions)
    VALUES ($1, $2, $3, $4, jsonb_build_object('tokens', $5::numeric))
    ON CONFLICT DO NOTHING RETURNING 1
)
INSERT INTO counters (customer_id, event_name, month, count, tokens_sum, tokens_max)
SELECT $1, $2, date_trunc('month', $4 AT TIME ZONE 'UTC')::date, 1, $5, $5 FROM fresh
ON CONFLICT (customer_id, event_name, month) DO UPDATE
SET count = counters.count + 1,
    tokens_sum = counters.tokens_sum + excluded.tokens_sum,
    tokens_max = greatest(counters.tokens_max, excluded.tokens_max)
RETURNING tokens_sum
"""

# The count of this month and the limit of a customer.
CHECK = """
SELECT coalesce(c.count, 0), l.usage_limit
FROM limits l LEFT JOIN counters c
  ON c.customer_id = l.customer_id AND c.event_name = l.event_name
 AND c.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
WHERE l.customer_id = $1 AND l.event_name = $2
"""

SET_LIMITS = """
INSERT INTO limits (customer_id, event_name, usage_limit)
SELECT name, $2, $3 FROM unnest($1::text[]) AS sent (name)
ON CONFLICT (customer_id, event_name) DO UPDATE SET usage_limit = excluded.usage_limit
"""


class Event(BaseModel):
    """One event, as the product takes it."""

    customerId: str = Field(min_length=1, max_length=255)  # noqa: N815 - the wire's name
    eventName: str = Field(min_length=1, max_length=255)  # noqa: N815
    idempotencyKey: str = Field(min_length=1, max_length=255)  # noqa: N815
    timestamp: datetime | None = None
    dimensions: dict[str, str | int | float | bool] = {}


class Events(BaseModel):
    """A batch."""

    events: list[Event] = Field(min_length=1, max_length=1000)


class Usage(BaseModel):
    """One report."""

    customerId: str = Field(min_length=1, max_length=255)  # noqa: N815
    featureId: str = Field(min_length=1, max_length=255)  # noqa: N815
    idempotencyKey: str = Field(min_length=1, max_length=255)  # noqa: N815
    value: float


class Limits(BaseModel):
    """The same limit for many customers."""

    customers: list[str]
    eventName: str  # noqa: N815
    usageLimit: int  # noqa: N815


def create_app() -> FastAPI:
    """The application; the database is named by the environment variable ``HOME_MADE_DSN``."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = await asyncpg.create_pool(
            os.environ[DSN_VARIABLE], min_size=POOL_CONNECTIONS, max_size=POOL_CONNECTIONS
        )
        async with pool.acquire() as connection:
            await connection.execute(SCHEMA)
        app.state.pool = pool
        yield
        await pool.close()

    app = FastAPI(lifespan=lifespan, default_response_class=JSONResponse)
    _add_writing(app)
    _add_reading(app)
    return app


def _add_writing(app: FastAPI) -> None:
    @app.post("/events")
    async def post_events(batch: Events) -> dict[str, Any]:
        columns = _columns(batch.events)
        async with app.state.pool.acquire() as connection, connection.transaction():
            await connection.execute(INGEST, *columns)
        return {"data": {}}

    @app.post("/usage", status_code=201)
    async def post_usage(usage: Usage) -> dict[str, Any]:
        now = datetime.now(UTC)
        async with app.state.pool.acquire() as connection, connection.transaction():
            total = await connection.fetchval(
                REPORT, usage.customerId, usage.featureId, usage.idempotencyKey, now, usage.value
            )
        return {"data": {"currentUsage": None if total is None else float(total)}}

    @app.post("/limits")
    async def post_limits(limits: Limits) -> dict[str, Any]:
        async with app.state.pool.acquire() as connection:
            await connection.execute(
                SET_LIMITS, limits.customers, limits.eventName, limits.usageLimit
            )
        return {"data": {}}


def _add_reading(app: FastAPI) -> None:
    @app.get("/check")
    async def check(customer: str, event: str, requested: int = 0) -> dict[str, Any]:
        async with app.state.pool.acquire() as connection:
            row = await connection.fetchrow(CHECK, customer, event)
        if row is None:
            return {"data": {"isGranted": False}}
        used, limit = row
        granted = used + requested <= limit
        return {"data": {"isGranted": granted, "currentUsage": used, "usageLimit": limit}}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}


def _columns(events: list[Event]) -> tuple[list[Any], ...]:
    """The batch as columns, which is how PostgreSQL takes many rows fastest in one statement."""
    now = datetime.now(UTC)
    return (
        [event.customerId for event in events],
        [event.eventName for event in events],
        [event.idempotencyKey for event in events],
        [event.timestamp or now for event in events],
        [json.dumps(event.dimensions) for event in events],
    )


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[str, int]]:
    """A PostgreSQL in ``folder`` that ends with the block: (DSN, process id)."""
    with PostgresServer(folder, _POSTGRES_SETTINGS) as server:
        yield server.url(), server.pid


# What a sensible operator sets on a machine of this size. fsync and synchronous_commit stay on.
_POSTGRES_SETTINGS = (
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "checkpoint_completion_target=0.9",
    "fsync=on",
    "synchronous_commit=on",
)


def main() -> None:
    """Run the baseline until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bench.home_made", description=__doc__)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="kept; default: a new one")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="home-made-", dir="/var/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with postgres(folder) as (dsn, _):
            _serve(dsn, arguments.port, arguments.workers)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def _serve(dsn: str, port: int, workers: int) -> None:
    """uvicorn as a child, so that this process can end PostgreSQL after it."""
    command = [
        sys.executable, "-m", "uvicorn", "--factory", "bench.home_made:create_app",
        "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers),
        "--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools",
    ]  # fmt: skip
    server = subprocess.Popen(command, env={**os.environ, DSN_VARIABLE: dsn})
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
    finally:
        server.terminate()
        server.wait(timeout=30)


if __name__ == "__main__":
    main()
