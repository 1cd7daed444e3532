-- Every index costs each call; pruning goes through calls_newest, tenant by tenant.
DROP INDEX calls_age;
