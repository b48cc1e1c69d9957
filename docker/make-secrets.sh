#!/bin/sh
# Make the secret files of compose.yaml that are missing, in a folder that only this account reads.
# The files themselves are readable: the accounts of the containers have other numbers than this one.
set -eu
folder="${1:-$(dirname "$0")/secrets}"
mkdir -p "$folder"
chmod 700 "$folder"
umask 022
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
once() { [ -s "$folder/$1" ] || printf '%s' "$2" >"$folder/$1"; }
content() { cat "$folder/$1"; }
for name in postgres owner plant recorder mlflow airflow tuning queue features grafana; do once "${name}_password" "$(random)"; done
for name in admin perennial reader; do
  once "s3_${name}_key" "$(random)"
  once "s3_${name}_secret" "$(random)"
  once "s3_$name" "[default]
aws_access_key_id = $(content "s3_${name}_key")
aws_secret_access_key = $(content "s3_${name}_secret")
"
done
# $1: role; $2: database
database() { echo "postgresql+psycopg://$1:$(content "$1_password")@postgres:5432/$2"; }
once owner_database_url "$(database owner plant)"
once database_url "$(database plant plant)"
once recorder_database_url "$(database recorder plant)"
once mlflow_database_url "$(database mlflow mlflow)"
once airflow_database_url "$(database airflow airflow)"
once tuning_url "$(database tuning tuning)"
once celery_broker_url "redis://:$(content queue_password)@queue:6379/0"
once alerts_secret "$(random)" # with which Alertmanager sends its messages
once oidc_client_secret "" # of the issuer where people sign in, if any
once online_store "redis://:$(content features_password)@features:6379/0"
for name in queue features; do
  once "${name}_conf" "requirepass $(content "${name}_password")
appendonly yes
dir /data
"
done
identity() {
  printf '{"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": [%s]}' \
    "$1" "$(content "s3_$1_key")" "$(content "s3_$1_secret")" "$2"
}
on() { for bucket in data models log; do printf '"%s:%s", ' "$1" "$bucket"; done; }
# The first makes the buckets, the second uses them, the third shows artifacts on MLflow's page.
once s3_identities "{\"identities\": [
$(identity admin '"Admin"'),
$(identity perennial "$(on Read)$(on Write)$(on List)\"Tagging:models\""),
$(identity reader '"Read:models", "List:models"')
]}
"
echo "the secrets of compose.yaml are in $folder"
