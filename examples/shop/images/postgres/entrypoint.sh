#!/bin/sh
# Starts PostgreSQL; makes the data directory first when there is none.
# PGDATA        where the data is: a folder below the volume's root
# POSTGRES_PASSWORD_FILE   the superuser's password, from a Secret
# SHOP_USER, SHOP_PASSWORD, SHOP_DATABASE   the application's role and database
set -eu

initialise() {
	# Made under another name and moved at the end: a pod killed here begins again.
	new=$PGDATA.new
	rm -rf "$new"
	initdb -D "$new" --no-sync --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" \
		--encoding=UTF8 --locale=C.UTF-8 --auth-local=peer --auth-host=scram-sha-256
	echo "host all all all scram-sha-256" >>"$new/pg_hba.conf"
	echo "include_if_exists '/etc/postgresql/shop.conf'" >>"$new/postgresql.conf"
	pg_ctl -D "$new" -w -o "-c listen_addresses=''" start
	psql -v ON_ERROR_STOP=1 -U postgres -d postgres -q \
		-v user="$SHOP_USER" -v password="$SHOP_PASSWORD" -v database="$SHOP_DATABASE" <<-'SQL'
		CREATE ROLE :"user" LOGIN PASSWORD :'password';
		CREATE DATABASE :"database" OWNER :"user";
	SQL
	pg_ctl -D "$new" -w -m fast stop
	sync -f "$new"
	mv "$new" "$PGDATA"
}

[ -s "$PGDATA/PG_VERSION" ] || initialise
exec postgres -D "$PGDATA" -c "listen_addresses=*"
