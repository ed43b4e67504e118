#!/bin/bash
# MariaDB with the settings of the image mysql: creates the database and its user at the first start.
set -eu
arguments=()
for argument; do
  # MariaDB has no X protocol.
  [[ $argument == --mysqlx=* ]] || arguments+=("$argument")
  [[ $argument == --datadir=* ]] && data=${argument#*=}
done
if [ ! -e "$data/initialized" ]; then
  password=$(<"$MYSQL_PASSWORD_FILE") root_password=$(<"$MYSQL_ROOT_PASSWORD_FILE")
  mkdir -p "$data"
  mariadb-install-db --no-defaults --datadir="$data" --skip-test-db --auth-root-authentication-method=normal >&2
  mariadbd --no-defaults --datadir="$data" --bootstrap <<SQL
FLUSH PRIVILEGES;
CREATE DATABASE \`$MYSQL_DATABASE\`;
CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$password';
GRANT ALL ON \`$MYSQL_DATABASE\`.* TO '$MYSQL_USER'@'%';
ALTER USER root@localhost IDENTIFIED BY '$root_password';
SQL
  touch "$data/initialized"
fi
exec mariadbd --no-defaults "${arguments[@]}" --socket=/var/run/mysqld/mysqld.sock --pid-file=/var/run/mysqld/mysqld.pid
