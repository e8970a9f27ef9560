#!/bin/sh
# PostgreSQL of Debian in a container, with the variables of the published image: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB.
set -eu
data=/var/lib/postgresql/data
programs=$(echo /usr/lib/postgresql/*/bin)
as_postgres="setpriv --reuid=postgres --regid=postgres --init-groups"

chown postgres:postgres "$data"
chmod 700 "$data"
install -d -o postgres -g postgres /run/postgresql
if [ ! -s "$data/PG_VERSION" ]; then
    password=$(mktemp)
    printf '%s\n' "${POSTGRES_PASSWORD:?set it in .env}" > "$password"
    chown postgres "$password"
    $as_postgres "$programs/initdb" -D "$data" -U "$POSTGRES_USER" --pwfile="$password" \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
    rm "$password"
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    echo "CREATE DATABASE \"$POSTGRES_DB\"" | $as_postgres "$programs/postgres" --single -D "$data" postgres
fi
exec $as_postgres "$programs/postgres" -D "$data" -c "listen_addresses=*"
