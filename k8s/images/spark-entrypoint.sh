#!/bin/sh
# What Spark's Kubernetes backend starts in a container: `driver ARGUMENTS` or `executor`. Anything else is a command of recsys.
set -eu
role=${1:---help}
[ $# -eq 0 ] || shift
case $role in
    driver)
        exec "$SPARK_HOME/bin/spark-submit" --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
            --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" --deploy-mode client "$@"
        ;;
    executor)
        # JVM options come as variables, one each: SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1 ...
        number=0
        set --
        while value=$(printenv "SPARK_JAVA_OPT_$number"); do
            set -- "$@" "$value"
            number=$((number + 1))
        done
        exec "$JAVA_HOME/bin/java" "$@" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
            -cp "${SPARK_CONF_DIR:-$SPARK_HOME/conf}:$SPARK_HOME/jars/*" \
            org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
            --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
            --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
            --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
        ;;
    *)
        exec recsys "$role" "$@"
        ;;
esac
