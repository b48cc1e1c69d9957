#!/bin/sh
# A database for each part, with a role that owns nothing else and connects to no other. PostgreSQL's image runs this on
# an empty volume. Each part migrates its tables itself, and keeps an Alembic version of the same name (ADR 51).
set -eu
for role in plant mlflow airflow tuning; do
  # psql reads the password itself: the arguments of a process can be seen.
  export PASSWORD_FILE="${SECRETS:-/run/secrets}/${role}_password"
  [ -s "$PASSWORD_FILE" ] || { echo "no password in $PASSWORD_FILE" >&2; exit 1; }
  psql --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --set=role="$role" <<'SQL'
\set password `cat "$PASSWORD_FILE"`
CREATE ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE ALL ON DATABASE :"role" FROM PUBLIC;
SQL
done
psql --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" \
  --command 'REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'
