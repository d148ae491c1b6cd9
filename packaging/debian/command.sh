#!/bin/sh
# hkall-gateway with the configuration and the secrets of /etc/hkall. Root becomes the user of the service, so that no file of
# the database is root's.
set -eu
program=/usr/lib/hkall-gateway/bin/hkall-gateway
secrets=/etc/hkall/environment
export HKALL_CONFIG="${HKALL_CONFIG:-/etc/hkall/gateway.toml}"
if [ -r "$secrets" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        name=${line%%=*}
        case $name in '' | [0-9]* | *[!A-Za-z0-9_]*) continue ;; esac
        printenv "$name" >/dev/null || export "$line"
    done <"$secrets"
fi
if [ "$(id -u)" -eq 0 ]; then
    exec runuser -u hkall -- "$program" "$@"
fi
exec "$program" "$@"
