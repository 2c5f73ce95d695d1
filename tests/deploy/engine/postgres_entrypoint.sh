#!/usr/bin/env bash
# What docker-compose.yml asks of the official image's program of this name: a first start makes the data folder, the
# user and the database, listening on the socket alone, and then the command takes this one's place.
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
  echo "run as user postgres" >&2
  exit 1
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  initdb --username "$POSTGRES_USER" --pwfile <(printf '%s\n' "$POSTGRES_PASSWORD") --encoding UTF8
  printf 'host all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  pg_ctl --wait --options "-c listen_addresses=" start
  [ "$POSTGRES_DB" = postgres ] || psql -U "$POSTGRES_USER" -d postgres -c "CREATE DATABASE \"$POSTGRES_DB\""
  pg_ctl --wait --mode fast stop
fi
exec "$@" -c listen_addresses='*'
