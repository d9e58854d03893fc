# Redis reads its certificate again when it is told to: while the process of that number runs, at most a minute after it is another.
seen=$(cksum < /etc/recsys-tls/tls.crt)
while sleep "${RENEW_SECONDS:-60}" && kill -0 "$1" 2> /dev/null; do
  now=$(cksum < /etc/recsys-tls/tls.crt)
  [ "$now" = "$seen" ] && continue
  REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli -p "${REDIS_PORT:-6379}" --tls --cacert /etc/recsys-tls/ca.crt \
    config set tls-cert-file /etc/recsys-tls/tls.crt tls-key-file /etc/recsys-tls/tls.key | grep -q OK && seen=$now
done
