-- Databases and roles of the lab. Run it once as the administrator of PostgreSQL; docs/lab.md shows how.
-- The passwords come from the environment of psql, so that they are in no file of the repository.
\set ON_ERROR_STOP on
\getenv dagster_password DAGSTER_PASSWORD
\getenv ledger_password LEDGER_PASSWORD

-- Each role may log in, owns one database, and has no other right. Dagster and the ledger create their own tables.
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
CREATE ROLE ledger LOGIN PASSWORD :'ledger_password';
-- A cluster of a machine without a locale would create databases that accept no letter outside of ASCII.
CREATE DATABASE dagster OWNER dagster ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;
CREATE DATABASE ledger OWNER ledger ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;

-- Without this every role of the server could connect to both.
REVOKE ALL ON DATABASE dagster, ledger FROM PUBLIC;
