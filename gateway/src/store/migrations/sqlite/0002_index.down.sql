DROP TABLE index_positions;
DROP TABLE approval_records;
DROP TABLE calls;
