-- Objects: where they come from, runs, and where reading each stands; and the ledger of their records.
ALTER TABLE totals RENAME TO totals_before;

CREATE TABLE totals (
    environment        TEXT    PRIMARY KEY,
    accepted_reports   INTEGER NOT NULL DEFAULT 0,
    accepted_objects   INTEGER NOT NULL DEFAULT 0,
    rejected           INTEGER NOT NULL DEFAULT 0,
    duplicate_reports  INTEGER NOT NULL DEFAULT 0,
    counted            INTEGER NOT NULL DEFAULT 0,
    duplicates         INTEGER NOT NULL DEFAULT 0,
    duplicates_expired INTEGER NOT NULL DEFAULT 0,
    quarantined        INTEGER NOT NULL DEFAULT 0,
    discarded          INTEGER NOT NULL DEFAULT 0
);

INSERT INTO totals (environment, accepted_reports, duplicate_reports, counted, duplicates,
                    duplicates_expired, quarantined, discarded)
SELECT environment, accepted_reports, duplicate_reports, counted, duplicates, duplicates_expired,
       quarantined, discarded
FROM totals_before;

DROP TABLE totals_before;

-- Places that are looked at on a schedule.
CREATE TABLE sources (
    id          TEXT    PRIMARY KEY,
    environment TEXT    NOT NULL,
    settings    TEXT    NOT NULL,     -- JSON, secrets included: never shown as it is
    paused      INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    next_run_at INTEGER,              -- NULL while paused
    removed_at  INTEGER
);

-- One look at a source, or at what an import names; it goes on where a dead process left it.
CREATE TABLE object_runs (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    environment TEXT    NOT NULL,
    source      TEXT,                 -- NULL for an import
    request     TEXT    NOT NULL,     -- JSON: what an import names; '' for a source's
    cause       TEXT    NOT NULL,     -- schedule | request | import | retry
    state       TEXT    NOT NULL,     -- queued | running | succeeded | partial | failed | stopped
    reason      TEXT,
    queued_at   INTEGER NOT NULL,
    started_at  INTEGER,
    ended_at    INTEGER,
    listed      INTEGER NOT NULL DEFAULT 0,
    ignored     INTEGER NOT NULL DEFAULT 0,  -- names that are left alone
    counted     INTEGER NOT NULL DEFAULT 0,
    duplicates  INTEGER NOT NULL DEFAULT 0,
    rejected    INTEGER NOT NULL DEFAULT 0,
    bytes       INTEGER NOT NULL DEFAULT 0,
    reasons     TEXT    NOT NULL DEFAULT '{}'  -- JSON: how many records were refused for what
);

CREATE INDEX object_runs_open ON object_runs (ended_at, started_at);
CREATE INDEX object_runs_of ON object_runs (source, seq);

-- A version of a file and where reading it stands: at a place, and so many records behind it. It moves
-- in the transaction that counts what was read.
CREATE TABLE objects (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    scope       TEXT    NOT NULL,     -- the source, or the run of an import
    environment TEXT    NOT NULL,
    url         TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    version     TEXT    NOT NULL,     -- entity tag, generation, or what a file system knows
    size        INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    state       TEXT    NOT NULL,  -- queued | reading | waiting | done | gone | failed | stopped
                                   -- | review | ignored
    reason      TEXT,
    byte        INTEGER NOT NULL DEFAULT 0,  -- of the decompressed stream; of Parquet the row
    line        INTEGER NOT NULL DEFAULT 1,
    skip        INTEGER NOT NULL DEFAULT 0,
    records     INTEGER NOT NULL DEFAULT 0,
    counted     INTEGER NOT NULL DEFAULT 0,
    duplicates  INTEGER NOT NULL DEFAULT 0,
    rejected    INTEGER NOT NULL DEFAULT 0,
    rejected_before INTEGER NOT NULL DEFAULT 0,  -- of earlier readings, which a retry began anew
    attempts    INTEGER NOT NULL DEFAULT 0,  -- at the next part, that have not returned
    run         INTEGER NOT NULL,
    ended_at    INTEGER,
    began_at    INTEGER,              -- when the first of it was counted
    trying      INTEGER NOT NULL DEFAULT 0,  -- records of the part that was begun last
    suspects    INTEGER NOT NULL DEFAULT 0,  -- up to so many records of it, because a process died,
    together    INTEGER NOT NULL DEFAULT 0,  -- at most so many are counted at once
    UNIQUE (scope, url, key, version)
);

CREATE INDEX objects_of_run ON objects (run, state);
CREATE INDEX objects_by_key ON objects (environment, url, key);
CREATE INDEX objects_by_version ON objects (environment, version);

-- What came of all objects and runs of an environment, those whose runs are forgotten included.
CREATE TABLE object_totals (
    environment TEXT    PRIMARY KEY,
    counted     INTEGER NOT NULL DEFAULT 0,
    duplicates  INTEGER NOT NULL DEFAULT 0,
    rejected    INTEGER NOT NULL DEFAULT 0,
    bytes       INTEGER NOT NULL DEFAULT 0,
    succeeded   INTEGER NOT NULL DEFAULT 0,  -- runs that ended so; and the others
    partial     INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    stopped     INTEGER NOT NULL DEFAULT 0
);
