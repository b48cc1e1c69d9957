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
for name in postgres_password database_password tuning_password s3_key s3_secret; do once "$name" "$(random)"; done
content() { cat "$folder/$1"; }
once database_url "postgresql+psycopg://plant:$(content database_password)@postgres:5432/plant"
once tuning_url "postgresql+psycopg://tuning:$(content tuning_password)@postgres:5432/tuning"
once s3_credentials "[default]
aws_access_key_id = $(content s3_key)
aws_secret_access_key = $(content s3_secret)
"
once s3_identities "{\"identities\": [{\"name\": \"perennial\",
 \"credentials\": [{\"accessKey\": \"$(content s3_key)\", \"secretKey\": \"$(content s3_secret)\"}],
 \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\", \"Tagging\"]}]}
"
echo "the secrets of compose.yaml are in $folder"
