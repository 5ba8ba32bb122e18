-- Version 3: from where on the ledger knows every create of its dataset; one row at most.

CREATE TABLE beginning (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    doubted_since REAL,
    record INTEGER
) STRICT;
