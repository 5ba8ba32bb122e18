-- Version 6: how long the service takes no creates, in seconds from when it said so.

ALTER TABLE block ADD COLUMN seconds REAL;
