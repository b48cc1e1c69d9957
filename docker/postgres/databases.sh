#!/bin/sh
# A database for each part, with a role that owns nothing else and connects to no other. PostgreSQL's image runs this on
# an empty volume. Each part migrates its tables itself, and keeps an Alembic version of the same name (ADR 51).
set -eu
for role in plant mlflow airflow tuning; do
  psql --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --set=role="$role" \
    --set=password="$(cat "${SECRETS:-/run/secrets}/${role}_password")" <<'SQL'
CREATE ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE ALL ON DATABASE :"role" FROM PUBLIC;
SQL
done
psql --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" \
  --command 'REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'
