#!/bin/sh
# Writes .env, next to docker-compose.yml: fresh secrets, readable by its owner alone. Never replaces one that is there.
# The image must be built before. LLMRING_API names another way to run the program, such as `.venv/bin/llmring-api`.
set -eu
cd "$(dirname "$0")/../.."
target=${1:-.env}
program=${LLMRING_API:-docker run --rm llmring-api:${IMAGE_TAG:-0.1.0}}

if [ -e "$target" ]; then
    echo "$target is there already. Without the secrets in it the data cannot be read: keep it." >&2
    exit 1
fi

password() {
    od -A n -t x1 -N 24 /dev/urandom | tr -d ' \n'
}

umask 077
# Unquoted: it is a command with its arguments.
principal=$($program keys principal)
receipts=$($program keys receipts)
webhooks=$($program keys webhooks)
cat > "$target.part" <<EOF
# Secrets of this deployment, and what is set in it. Keep a copy in a safe place.

POSTGRES_PASSWORD=$(password)
REDIS_PASSWORD=$(password)

# The gateway vouches for callers with this key; the services check it with the public half.
$principal

# Signs receipts. A new one rotates the key.
$receipts

# Seals the secrets of webhooks in the database. It never changes.
$webhooks

# The address that the gateway is published at. For other machines put a proxy with TLS in front.
# PUBLISH=127.0.0.1:8080
# LLMRING_PUBLIC_URL=https://llmring.example.com
# LLMRING_TRUSTED_PROXIES=172.16.0.0/12

# The server that takes mail: links by which passwords are set.
# LLMRING_SMTP_HOST=smtp.example.com
# LLMRING_SMTP_USER=llmring
# LLMRING_SMTP_PASSWORD=
# LLMRING_SMTP_FROM=no-reply@example.com

# Logins by Google and GitHub: what this deployment is there.
# LLMRING_GOOGLE_CLIENT_ID=
# LLMRING_GOOGLE_CLIENT_SECRET=
# LLMRING_GITHUB_CLIENT_ID=
# LLMRING_GITHUB_CLIENT_SECRET=

# Prometheus and an OpenTelemetry collector.
# COMPOSE_PROFILES=observability
# OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://otel-collector:4318/v1/traces
# OTEL_TRACES_SAMPLER_ARG=0.01
EOF
mv "$target.part" "$target"
echo "Wrote $target."
