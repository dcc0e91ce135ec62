-- What is asked for by age: people whose fresh sign-in is long past, and the checkpoint that was newest at a time.
CREATE INDEX person_freshness_by_age ON person_freshness (since_ms);
CREATE INDEX ledger_checkpoints_by_age ON ledger_checkpoints (origin, at_ms);
