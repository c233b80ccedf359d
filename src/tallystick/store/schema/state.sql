-- The state: what was configured, what was counted, and which files hold the record.
-- Instants are microseconds since 1970, UTC. Quantities are decimal text, never floats.
-- Ids that may be absent (a resource, "all customers") are '' so that they can be in keys.

CREATE TABLE environments (
    environment TEXT    PRIMARY KEY,
    created_at  INTEGER NOT NULL
);

CREATE TABLE api_keys (
    hash        BLOB    PRIMARY KEY,  -- SHA-256 of the key; the key itself is never stored
    environment TEXT    NOT NULL,
    kind        TEXT    NOT NULL,     -- server | client
    hint        TEXT    NOT NULL,     -- its last four characters, for people
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
);

-- Every change of a rule, so that caches drop just what it touches. customer '' is everyone, what ''
-- is everything; else 'feature:ID', 'plan:ID' or 'addon:ID'.
CREATE TABLE changes (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT    NOT NULL,
    customer    TEXT    NOT NULL,
    made_at     INTEGER NOT NULL,
    token       INTEGER NOT NULL,     -- random: tells a seq that was rolled back and used again
    what        TEXT    NOT NULL DEFAULT ''
);

-- ---------------------------------------------------------------------------------- the catalog

CREATE TABLE products (
    environment TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    body        TEXT    NOT NULL,     -- JSON: what was configured
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (environment, id)
);

CREATE TABLE features (
    environment TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    body        TEXT    NOT NULL,     -- JSON: what was configured, the meter included
    fed_by      TEXT    NOT NULL,     -- nothing | reports | events
    generation  INTEGER NOT NULL,     -- of its counters; 0, or the recount that made them
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (environment, id)
);

-- A version of a plan. The newest published one is what new subscriptions get.
CREATE TABLE plans (
    environment    TEXT    NOT NULL,
    id             TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    status         TEXT    NOT NULL,  -- DRAFT | PUBLISHED | ARCHIVED
    product        TEXT    NOT NULL,
    body           TEXT    NOT NULL,  -- JSON
    entitlements   TEXT    NOT NULL,  -- JSON list, in order
    migration      TEXT,              -- NEW_CUSTOMERS | ALL_CUSTOMERS, once published
    published_at   INTEGER,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    parent         TEXT    NOT NULL DEFAULT '',  -- of this version; '' is none
    PRIMARY KEY (environment, id, version)
);

CREATE INDEX plans_of_parent ON plans (environment, parent);
CREATE INDEX plans_of_product ON plans (environment, product);

-- A version of an add-on: as of a plan, but without a parent.
CREATE TABLE addons (
    environment    TEXT    NOT NULL,
    id             TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    status         TEXT    NOT NULL,
    product        TEXT    NOT NULL,
    body           TEXT    NOT NULL,
    entitlements   TEXT    NOT NULL,
    migration      TEXT,
    published_at   INTEGER,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (environment, id, version)
);

CREATE INDEX addons_of_product ON addons (environment, product);

-- Which features a version of a plan or an add-on names, so that "in use" needs no JSON.
CREATE TABLE granted_features (
    environment TEXT    NOT NULL,
    feature     TEXT    NOT NULL,
    kind        TEXT    NOT NULL,     -- plan | addon
    package     TEXT    NOT NULL,     -- its id
    version     INTEGER NOT NULL,
    PRIMARY KEY (environment, feature, kind, package, version)
) WITHOUT ROWID;

CREATE TABLE customers (
    environment TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    body        TEXT    NOT NULL,     -- JSON
    archived_at INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (environment, id)
);

CREATE INDEX customers_by_age ON customers (environment, created_at, id);

CREATE TABLE subscriptions (
    environment TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    customer    TEXT    NOT NULL,
    resource    TEXT    NOT NULL,     -- '' for the customer itself
    product     TEXT    NOT NULL,
    plan        TEXT    NOT NULL,
    version     INTEGER NOT NULL,     -- of the plan, as subscribed
    start_at    INTEGER NOT NULL,
    end_at      INTEGER,              -- cancelled or replaced from this instant on
    chain_start INTEGER NOT NULL,     -- where the chain of plan changes began: the anchor
    restarts    INTEGER NOT NULL,     -- 1 when this plan change reset usage
    body        TEXT    NOT NULL,     -- JSON: everything else
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    held_from   INTEGER,              -- since when by this customer and resource; NULL is start_at
    PRIMARY KEY (environment, id)
);

CREATE INDEX subscriptions_of_customer ON subscriptions (environment, customer);
CREATE INDEX subscriptions_of_plan ON subscriptions (environment, plan);
CREATE INDEX subscriptions_by_age ON subscriptions (environment, created_at, id);

-- Who held a subscription in [from_at, until_at), before it was transferred or delegated.
CREATE TABLE subscription_tenures (
    environment  TEXT    NOT NULL,
    subscription TEXT    NOT NULL,
    customer     TEXT    NOT NULL,
    resource     TEXT    NOT NULL,
    from_at      INTEGER NOT NULL,
    until_at     INTEGER NOT NULL,
    PRIMARY KEY (environment, subscription, from_at)
);

CREATE INDEX subscription_tenures_of_customer ON subscription_tenures (environment, customer);

-- Every add-on that a subscription ever had or will have, so that its subscribers can be found. What
-- it has when is in the subscription's body.
CREATE TABLE subscription_addons (
    environment  TEXT NOT NULL,
    addon        TEXT NOT NULL,
    subscription TEXT NOT NULL,
    customer     TEXT NOT NULL,       -- who holds the subscription now
    PRIMARY KEY (environment, addon, subscription)
) WITHOUT ROWID;

CREATE INDEX subscription_addons_of ON subscription_addons (environment, subscription);

-- What a customer was granted beside its subscriptions, for a while or for life.
CREATE TABLE promotional_entitlements (
    environment TEXT    NOT NULL,
    customer    TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    feature     TEXT    NOT NULL,
    body        TEXT    NOT NULL,     -- JSON: an entitlement as a plan stores it, and what is shown
    start_at    INTEGER NOT NULL,
    end_at      INTEGER,              -- as granted; NULL is for life
    ended_at    INTEGER,              -- revoked or replaced then: history, and no longer listed
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (environment, customer, id)
);

CREATE INDEX promotional_entitlements_of_feature
    ON promotional_entitlements (environment, feature);

-- ------------------------------------------------------------------------------------- counters

-- One counted total. Which generation is the valid one: the larger of features.generation and
-- customer_generations.generation.
CREATE TABLE counters (
    id           INTEGER PRIMARY KEY,
    environment  TEXT    NOT NULL,
    customer     TEXT    NOT NULL,
    resource     TEXT    NOT NULL,
    feature      TEXT    NOT NULL,
    generation   INTEGER NOT NULL,
    period_start INTEGER NOT NULL     -- where counting began in this period
);

CREATE UNIQUE INDEX counters_by_name
    ON counters (environment, customer, resource, feature, generation, period_start);

-- What each counter holds. Apart from its name, which never changes and is three times as long: what a
-- transaction costs are the pages it writes, and everyone's reports wait for the fold's.
CREATE TABLE counter_parts (
    id      INTEGER PRIMARY KEY,      -- of the counter
    count   INTEGER NOT NULL,
    sum     TEXT    NOT NULL,
    minimum TEXT,
    maximum TEXT
);

CREATE TABLE customer_generations (
    environment TEXT    NOT NULL,
    customer    TEXT    NOT NULL,
    feature     TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    PRIMARY KEY (environment, customer, feature)
) WITHOUT ROWID;

-- A wish to build event-fed counters anew from the archive: those of one feature, of one customer or
-- of everyone. It is open until finished_at; open and without a run it is queued.
CREATE TABLE recounts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT    NOT NULL,
    feature     TEXT    NOT NULL,
    customer    TEXT    NOT NULL,     -- '' is everyone
    reason      TEXT    NOT NULL,
    run         INTEGER,              -- which run builds what it asks for
    together    INTEGER NOT NULL,     -- in a run of at most so many: less after runs that failed
    failure     TEXT,                 -- set aside, because it failed alone too
    as_of       INTEGER NOT NULL,     -- how fresh the standing values are
    queued_at   INTEGER NOT NULL,
    finished_at INTEGER
);

CREATE INDEX recounts_open ON recounts (finished_at, environment, feature, customer);
CREATE INDEX recounts_of_run ON recounts (run);

-- One reading of the archive for the recounts that began together, and where it stands.
CREATE TABLE recount_runs (
    generation  INTEGER PRIMARY KEY AUTOINCREMENT, -- of the counters it writes
    environment TEXT    NOT NULL,
    everyone    INTEGER NOT NULL,     -- 1: of everyone's recounts, 0: of single customers'
    position    INTEGER NOT NULL,     -- archived events up to here are in
    file        INTEGER,              -- the file it stands in, if it stands inside one
    row_next    INTEGER NOT NULL,     -- first row of that file that is not in
    attempts    INTEGER NOT NULL,     -- of its next step, those that did not return included
    ended       INTEGER               -- in which order the runs ended
);

-- ------------------------------------------------------------------------------------ reporting

-- Usage reports that are counted already and wait for the fold to archive them. Without an index: it
-- would cost each report a written page, and the few who look for some of the rows may read them all.
CREATE TABLE reports_waiting (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    customer    TEXT    NOT NULL,
    resource    TEXT    NOT NULL,
    feature     TEXT    NOT NULL,
    value       TEXT    NOT NULL,     -- the delta
    key         TEXT,
    created_at  INTEGER NOT NULL,     -- when the usage happened: it decides the period
    received_at INTEGER NOT NULL,
    dimensions  TEXT    NOT NULL      -- JSON object
);

-- The first report under each key, in the order of the claims: new ones are written side by side,
-- and the oldest, which leave first, are found without an index on their age.
CREATE TABLE usage_keys (
    seq        INTEGER PRIMARY KEY,
    hash       BLOB    NOT NULL,      -- of the key within its scope
    claimed_at INTEGER NOT NULL,      -- when the report was received
    id         TEXT    NOT NULL,      -- of the report; with the rest what a repetition is answered
    value      TEXT    NOT NULL,      -- the delta
    created_at INTEGER NOT NULL       -- when the usage happened
);

CREATE UNIQUE INDEX usage_keys_by_hash ON usage_keys (hash);

-- Answers to requests that carried an Idempotency-Key header, for a day.
CREATE TABLE replies (
    environment TEXT    NOT NULL,
    method      TEXT    NOT NULL,
    path        TEXT    NOT NULL,     -- as it was sent
    key         TEXT    NOT NULL,
    request     BLOB    NOT NULL,     -- SHA-256 of the body
    status      INTEGER NOT NULL,
    headers     TEXT    NOT NULL,     -- JSON: [[name, value], …]
    body        BLOB    NOT NULL,
    made_at     INTEGER NOT NULL,
    PRIMARY KEY (environment, method, path, key)
) WITHOUT ROWID;

CREATE INDEX replies_by_age ON replies (made_at);

-- Calls that changed one entity (a subscription, a customer or its resource), for a minute. The
-- oldest leave first, and are found without an index on their age.
CREATE TABLE entity_calls (
    seq         INTEGER PRIMARY KEY,
    environment TEXT    NOT NULL,
    kind        TEXT    NOT NULL,     -- customer | subscription
    id          TEXT    NOT NULL,
    resource    TEXT    NOT NULL,     -- of a customer, '' for the customer itself
    real_at     INTEGER NOT NULL      -- by the machine's clock, which no test clock stops
);

CREATE INDEX entity_calls_of ON entity_calls (environment, kind, id, resource, real_at);

-- Customers with at least one archived event or usage report: only they can need a recount.
CREATE TABLE archived_customers (
    environment TEXT NOT NULL,
    customer    TEXT NOT NULL,
    PRIMARY KEY (environment, customer)
) WITHOUT ROWID;

-- ------------------------------------------------------------------------------------- the fold

-- How far a partition of the inbox is folded, and who may say so. Folded up to position, included.
CREATE TABLE partitions (
    partition INTEGER PRIMARY KEY,
    epoch     INTEGER NOT NULL,
    position  INTEGER NOT NULL
);

INSERT INTO partitions (partition, epoch, position) VALUES (0, 0, 0);

-- The ledger of promise 4, per environment. *_reports are written by the report transaction.
CREATE TABLE totals (
    environment        TEXT    PRIMARY KEY,
    accepted_reports   INTEGER NOT NULL DEFAULT 0,
    accepted_objects   INTEGER NOT NULL DEFAULT 0,   -- records of objects, by the readers' own count
    rejected           INTEGER NOT NULL DEFAULT 0,   -- of these, refused
    duplicate_reports  INTEGER NOT NULL DEFAULT 0,
    counted            INTEGER NOT NULL DEFAULT 0,   -- archived, events and reports
    duplicates         INTEGER NOT NULL DEFAULT 0,   -- events
    duplicates_expired INTEGER NOT NULL DEFAULT 0,   -- of these, gone from the log with the window
    quarantined        INTEGER NOT NULL DEFAULT 0,
    discarded          INTEGER NOT NULL DEFAULT 0    -- were quarantined, and the operator let go
);

-- The manifest. A file exists for readers when its row does.
CREATE TABLE files (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    kind           TEXT    NOT NULL,  -- archive | duplicates | keys | uniques
    way            TEXT    NOT NULL,  -- archive: event | usage; else ''
    name           TEXT    NOT NULL UNIQUE,
    epoch          INTEGER NOT NULL,
    level          INTEGER NOT NULL,  -- 0 as folded, one more with each merge
    row_count      INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    position_first INTEGER NOT NULL,
    position_last  INTEGER NOT NULL,
    time_first     INTEGER NOT NULL,  -- event time; of keys and duplicates: received time
    time_last      INTEGER NOT NULL,
    bucket         INTEGER NOT NULL,  -- of keys and duplicates: which eighth of the window
    created_at     INTEGER NOT NULL,
    removed_at     INTEGER            -- replaced or expired; the file itself goes later
);

CREATE INDEX files_live ON files (kind, removed_at);

-- Requests that could not be folded, kept with their bytes.
CREATE TABLE quarantine (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    environment    TEXT    NOT NULL,
    position       INTEGER NOT NULL,
    received_at    INTEGER NOT NULL,
    events         INTEGER NOT NULL,
    body           BLOB    NOT NULL,
    reason         TEXT    NOT NULL,
    quarantined_at INTEGER NOT NULL
);

-- --------------------------------------------------------------------------------------- objects

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
