-- Approvals, the exact bytes they are about, and the votes on them.
CREATE TABLE approvals (
  id               TEXT    NOT NULL PRIMARY KEY,
  tenant           TEXT    NOT NULL,
  call             TEXT    NOT NULL,
  session          TEXT,
  evaluation_id    TEXT    NOT NULL,
  subject_id       TEXT    NOT NULL,
  subject_issuer   TEXT    NOT NULL,
  subject_kind     TEXT    NOT NULL,
  agent            TEXT    NOT NULL,
  server           TEXT    NOT NULL,
  tool             TEXT    NOT NULL,
  schema_digest    TEXT    NOT NULL,
  policy_revision  TEXT    NOT NULL,
  message_digest   TEXT    NOT NULL,
  arguments_digest TEXT    NOT NULL,
  arguments_bytes  INTEGER NOT NULL,
  digest           TEXT    NOT NULL,
  join_key         TEXT    NOT NULL,
  terms            TEXT    NOT NULL,
  display          TEXT    NOT NULL,
  state            TEXT    NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'expired',
                                     'cancelled', 'executing', 'done', 'failed', 'unknown')),
  version          INTEGER NOT NULL CHECK (version >= 0),
  created_at       INTEGER NOT NULL,
  expires_at       INTEGER NOT NULL,
  approved_at      INTEGER,
  execute_by       INTEGER,
  used             INTEGER NOT NULL CHECK (used >= 0 AND used <= max_uses),
  max_uses         INTEGER NOT NULL,
  node             TEXT,
  CHECK (state <> 'approved' OR execute_by IS NOT NULL)
) STRICT;

-- Two identical requests can never be open at once, whatever the processes do.
CREATE UNIQUE INDEX approvals_open ON approvals (join_key)
  WHERE state IN ('pending', 'approved', 'executing');
CREATE INDEX approvals_waiting ON approvals (tenant, subject_issuer, subject_id)
  WHERE state = 'pending';
CREATE INDEX approvals_due ON approvals (expires_at) WHERE state = 'pending';
CREATE INDEX approvals_late ON approvals (execute_by) WHERE state = 'approved';
CREATE INDEX approvals_executing ON approvals (node) WHERE state = 'executing';
CREATE INDEX approvals_newest ON approvals (tenant, created_at, id);

-- Apart from the rows that are listed, since they may be large.
CREATE TABLE approval_parcels (
  approval  TEXT NOT NULL PRIMARY KEY REFERENCES approvals (id) ON DELETE CASCADE,
  message   BLOB NOT NULL,
  arguments BLOB NOT NULL
) STRICT;

-- The primary key is the rule: one person, one vote, over all requirements.
CREATE TABLE approval_votes (
  approval        TEXT    NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
  person          TEXT    NOT NULL,
  approver_id     TEXT    NOT NULL,
  approver_issuer TEXT    NOT NULL,
  approver_kind   TEXT    NOT NULL,
  verdict         TEXT    NOT NULL CHECK (verdict IN ('approve', 'deny')),
  fits            TEXT    NOT NULL,
  digest          TEXT    NOT NULL,
  reason          TEXT,
  at              INTEGER NOT NULL,
  PRIMARY KEY (approval, person)
) STRICT, WITHOUT ROWID;
