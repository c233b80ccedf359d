-- Replies to requests of events that carried an Idempotency-Key header.
CREATE TABLE replies (
    environment TEXT    NOT NULL,
    method      TEXT    NOT NULL,
    path        TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    request     BLOB    NOT NULL,
    status      INTEGER NOT NULL,
    headers     TEXT    NOT NULL,
    body        BLOB    NOT NULL,
    made_at     INTEGER NOT NULL,
    PRIMARY KEY (environment, method, path, key)
) WITHOUT ROWID;

CREATE INDEX replies_by_age ON replies (made_at);
