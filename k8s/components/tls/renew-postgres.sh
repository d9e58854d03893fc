# PostgreSQL reads its certificate again when it is told to: while the process of that number runs, at most a minute after it is another.
seen=$(cksum < /etc/recsys-tls/tls.crt)
while sleep "${RENEW_SECONDS:-60}" && kill -0 "$1" 2> /dev/null; do
  now=$(cksum < /etc/recsys-tls/tls.crt)
  [ "$now" = "$seen" ] && continue
  pg_ctl reload --silent -D "$PGDATA" && seen=$now
done
