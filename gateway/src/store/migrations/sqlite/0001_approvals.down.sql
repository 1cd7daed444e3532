DROP TABLE approval_votes;
DROP TABLE approval_parcels;
DROP TABLE approvals;
