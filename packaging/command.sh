#!/bin/sh
# Run hkall-gateway with the configuration and the secrets in /etc/hkall: those in the file `environment` and, for root, those in
# the folder `credentials`, where each secret is a file named like its variable (LoadCredential=). Root switches to the service
# user, so that root never owns a database file. As in systemd, a value in `environment` may be quoted.
set -eu
for program in /usr/lib/hkall-gateway/bin/hkall-gateway /opt/hkall/bin/hkall-gateway; do
    [ ! -x "$program" ] || break
done
secrets=/etc/hkall/environment
export HKALL_CONFIG="${HKALL_CONFIG:-/etc/hkall/gateway.toml}"
if [ -r "$secrets" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        name=${line%%=*} value=${line#*=}
        case $name in '' | [0-9]* | *[!A-Za-z0-9_]*) continue ;; esac
        case $value in
            "'"?*"'") value=${value#\'} value=${value%\'} ;;
            '"'?*'"') value=${value#\"} value=${value%\"} ;;
        esac
        printenv "$name" >/dev/null || export "$name=$value"
    done <"$secrets"
fi
if [ "$(id -u)" -eq 0 ]; then
    for file in /etc/hkall/credentials/*; do
        name=${file##*/}
        case $name in '' | [0-9]* | *[!A-Za-z0-9_]*) continue ;; esac
        printenv "$name" >/dev/null || export "$name=$(cat "$file")"
    done
    # The backup of a machine contains files of root. The program itself becomes the service user before it opens the database.
    for word in "$@"; do
        case $word in --with-config | --machine) exec "$program" "$@" ;; esac
    done
    exec runuser -u hkall -- "$program" "$@"
fi
exec "$program" "$@"
