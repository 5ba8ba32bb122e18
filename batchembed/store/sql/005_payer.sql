-- Version 5: the last run that paid for a task of the dataset, as far as the ledger knows.

ALTER TABLE beginning ADD COLUMN payer TEXT;
