#!/bin/sh
# Does for PostgreSQL what the official image does: makes the database at the first start. Other programs just run.
set -eu
[ "$1" = postgres ] || exec "$@"
data=/var/lib/postgresql/data
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
as_postgres="setpriv --reuid postgres --regid postgres --init-groups"
if [ ! -s "$data/PG_VERSION" ]; then
    install -d -o postgres -g postgres -m 700 "$data"
    install -o postgres -m 600 /dev/null /tmp/password
    echo "$POSTGRES_PASSWORD" >/tmp/password
    $as_postgres initdb -D "$data" -U "$POSTGRES_USER" -A scram-sha-256 --pwfile=/tmp/password --encoding=UTF8
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | $as_postgres postgres --single -D "$data" postgres
fi
exec $as_postgres postgres -D "$data" -h '*' -k /tmp
