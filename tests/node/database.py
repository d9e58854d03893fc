"""A database for controllers that ask for MySQL: Debian's MariaDB, started as MySQL's own image would be."""

from tests.node.images import Store, debian

IMAGE = "docker.io/library/mysql:8.4"
PROGRAM = "/bin/database"
START = """\
#!/bin/sh
set -e
mariadb-install-db --no-defaults --datadir=/var/lib/mysql --auth-root-authentication-method=normal > /dev/null
cat > /tmp/begin.sql <<END
CREATE USER root@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
ALTER USER root@localhost IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
CREATE DATABASE IF NOT EXISTS ${MYSQL_DATABASE:-mysql};
END
exec mariadbd --no-defaults --datadir=/var/lib/mysql --bind-address=0.0.0.0 --skip-name-resolve --init-file=/tmp/begin.sql \\
    --socket=/run/mysqld/mysqld.sock
"""


def build(store: Store) -> None:
    """The image, whose command is PROGRAM; it reads MYSQL_ROOT_PASSWORD and MYSQL_DATABASE, as MySQL's does."""
    command = f"{debian('mariadb-server')} && install -d -m 1777 /run/mysqld"  # for the socket of any user
    store.build_on(store.base(), IMAGE, command, {PROGRAM.rpartition("/")[2]: START})
