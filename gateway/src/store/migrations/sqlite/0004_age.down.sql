CREATE INDEX calls_age ON calls (at);
