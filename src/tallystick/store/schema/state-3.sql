-- What a counter holds becomes a row apart from its name.
CREATE TABLE counter_parts (
    id      INTEGER PRIMARY KEY,
    count   INTEGER NOT NULL,
    sum     TEXT    NOT NULL,
    minimum TEXT,
    maximum TEXT
);

INSERT INTO counter_parts (id, count, sum, minimum, maximum)
SELECT id, count, sum, minimum, maximum FROM counters;

ALTER TABLE counters DROP COLUMN count;
ALTER TABLE counters DROP COLUMN sum;
ALTER TABLE counters DROP COLUMN minimum;
ALTER TABLE counters DROP COLUMN maximum;
