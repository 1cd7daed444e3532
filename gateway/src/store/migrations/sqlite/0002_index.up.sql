-- An index of the journal: can be thrown away and built anew.
CREATE TABLE calls (
  tenant            TEXT    NOT NULL,
  call              TEXT    NOT NULL,
  at                INTEGER NOT NULL,
  session           TEXT,
  principal         TEXT    NOT NULL DEFAULT '',
  issuer            TEXT    NOT NULL DEFAULT '',
  agent             TEXT    NOT NULL DEFAULT '',
  client            TEXT    NOT NULL DEFAULT '',
  transport         TEXT    NOT NULL DEFAULT '',
  server            TEXT    NOT NULL DEFAULT '',
  tool              TEXT    NOT NULL DEFAULT '',
  method            TEXT    NOT NULL DEFAULT '',
  evaluation        TEXT    NOT NULL DEFAULT '',
  revision          TEXT    NOT NULL DEFAULT '',
  effect            TEXT,
  decision_refusal  TEXT,
  decision_seq      INTEGER,
  reasons           TEXT    NOT NULL DEFAULT '[]',
  request_findings  INTEGER NOT NULL DEFAULT 0,
  outcome           TEXT,
  outcome_refusal   TEXT,
  outcome_seq       INTEGER,
  approval          TEXT,
  response_findings INTEGER NOT NULL DEFAULT 0,
  timings           TEXT,
  PRIMARY KEY (tenant, call)
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_newest ON calls (tenant, at, call);
CREATE INDEX calls_age ON calls (at);

-- Records of approvals, so that an execution that the store forgot is found at start.
CREATE TABLE approval_records (
  tenant   TEXT    NOT NULL,
  seq      INTEGER NOT NULL,
  approval TEXT    NOT NULL,
  kind     TEXT    NOT NULL,
  call     TEXT    NOT NULL,
  at       INTEGER NOT NULL,
  PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX approval_records_of ON approval_records (approval, kind);

-- Up to which record of a tenant's log the index is complete.
CREATE TABLE index_positions (
  tenant TEXT    NOT NULL PRIMARY KEY,
  seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
