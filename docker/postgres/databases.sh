#!/bin/sh
# A database for each part, whose owner connects to no other. Each part migrates its tables itself, and keeps an Alembic
# version of the same name (ADR 51). In the database `plant` the owner has its own role, and the processes have roles that
# own nothing (ADR 61). PostgreSQL's image runs this on an empty volume; it may be run again, also over a volume on which
# the role `plant` owned the tables.
set -eu
as_superuser() { psql --quiet --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" "$@"; }
for role in owner plant recorder mlflow airflow tuning; do
  # psql reads the password itself: the arguments of a process can be seen.
  export PASSWORD_FILE="${SECRETS:-/run/secrets}/${role}_password"
  [ -s "$PASSWORD_FILE" ] || { echo "no password in $PASSWORD_FILE" >&2; exit 1; }
  as_superuser --set=role="$role" <<'SQL'
\set password `cat "$PASSWORD_FILE"`
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SQL
done
for pair in plant:owner mlflow:mlflow airflow:airflow tuning:tuning; do
  as_superuser --set=name="${pair%:*}" --set=owner="${pair#*:}" <<'SQL'
SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
ALTER DATABASE :"name" OWNER TO :"owner";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
as_superuser --command 'REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'
as_superuser --dbname plant <<'SQL'
REASSIGN OWNED BY plant TO owner;
-- What PostgreSQL lets everybody do who may connect: fill the disk with large objects, hold the lock of migrations.
DO $$ DECLARE f regprocedure; BEGIN
  FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
    AND (proname ~ 'advisory.*lock' OR proname IN ('lo_creat', 'lo_create', 'lo_from_bytea')) LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO owner', f);
  END LOOP;
END $$;
SQL
