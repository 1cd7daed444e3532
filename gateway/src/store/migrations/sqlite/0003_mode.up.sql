-- Whether the decision bound. The index is built anew, so that earlier calls say it too.
ALTER TABLE calls ADD COLUMN mode TEXT NOT NULL DEFAULT '';
DELETE FROM calls;
DELETE FROM approval_records;
DELETE FROM index_positions;
