-- The inbox: the durable queue of accepted event requests, in a file of its own so that accepting
-- and counting do not block each other. Instants are microseconds since 1970, UTC.

-- One accepted request. position is never reused (backlog.head) and becomes visible in order.
CREATE TABLE requests (
    position    INTEGER PRIMARY KEY,
    environment TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    events      INTEGER NOT NULL,
    body        BLOB    NOT NULL,     -- flat NDJSON, one line an event
    origin      INTEGER               -- the quarantined request this is again, if it is one
);

-- What was ever accepted, from the validated length, in the transaction that accepted it.
CREATE TABLE accepted (
    environment TEXT    PRIMARY KEY,
    events      INTEGER NOT NULL
);

-- What waits now, and the largest position ever given out: one row, kept by the transactions that
-- add and remove requests.
CREATE TABLE backlog (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    head   INTEGER NOT NULL,
    events INTEGER NOT NULL,
    bytes  INTEGER NOT NULL
);

INSERT INTO backlog (id, head, events, bytes) VALUES (1, 0, 0, 0);
