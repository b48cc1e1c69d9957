#!/bin/sh
# Two databases, each with a role that owns nothing else. PostgreSQL's image runs this on an empty volume.
# Optuna's tables are not beside ours: both keep an Alembic version.
set -eu
for name in database:plant tuning:tuning; do
  role="${name#*:}"
  psql --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --set=role="$role" \
    --set=password="$(cat "${SECRETS:-/run/secrets}/${name%%:*}_password")" <<'SQL'
CREATE ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE ALL ON DATABASE :"role" FROM PUBLIC;
SQL
done
