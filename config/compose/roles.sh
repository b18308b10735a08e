#!/bin/sh
# Run once by the database's image, when its volume is new: the three roles of docs/roles.md, with
# passwords from files. psql reads them itself, so that they stand in no list of processes.
set -eu
SECRETS=${SECRETS:-/run/secrets}
export SECRETS
psql --no-psqlrc --quiet --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set ON_ERROR_STOP on
\set owner `cat "$SECRETS/owner_password"`
\set writer `cat "$SECRETS/writer_password"`
\set reader `cat "$SECRETS/reader_password"`
CREATE ROLE ftmirror_owner LOGIN PASSWORD :'owner';
CREATE ROLE ftmirror_writer LOGIN PASSWORD :'writer';
CREATE ROLE bi LOGIN PASSWORD :'reader';
CREATE DATABASE ftmirror OWNER ftmirror_owner;
REVOKE ALL ON DATABASE ftmirror FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE ftmirror TO ftmirror_writer;
\connect ftmirror
ALTER SCHEMA public OWNER TO ftmirror_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO ftmirror_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE ftmirror_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO ftmirror_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE ftmirror_owner IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO ftmirror_writer;
SQL
