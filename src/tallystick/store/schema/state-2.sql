-- Calls are told apart by what they target, and leave in the order in which they came. Nothing had
-- been written to the table yet.
DROP TABLE entity_calls;

CREATE TABLE entity_calls (
    seq         INTEGER PRIMARY KEY,
    environment TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    resource    TEXT    NOT NULL,
    real_at     INTEGER NOT NULL
);

CREATE INDEX entity_calls_of ON entity_calls (environment, kind, id, resource, real_at);
