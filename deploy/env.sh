#!/bin/sh
# Writes .env beside docker-compose.yml: new random secrets, readable by their owner only. Never overwrites one.
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then
    echo "$PWD/.env is there already; it holds the secrets of an installation, so it is left as it is." >&2
    exit 1
fi
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
cat >.env <<END
# Secrets of this installation. Keep a copy in a safe place: without them its data cannot be read.
# The two of the objects are the first admin's access key, too: programs sign for both with one pair, as with AWS.
VIGIL_POSTGRES_PASSWORD=$(random)
VIGIL_VALKEY_PASSWORD=$(random)
VIGIL_OBJECTS_ACCESS_KEY=vigil-$(random | cut -c1-12)
VIGIL_OBJECTS_SECRET_KEY=$(random)
MINIO_KMS_SECRET_KEY=vigil:$(head -c 32 /dev/urandom | base64 | tr -d '\n')

# This machine's address in the plant's network, for cameras and programs; 127.0.0.1 serves this machine only.
VIGIL_ADDRESS=127.0.0.1
# VIGIL_PORT=7580
# VIGIL_S3_PORT=9000

# With an NVIDIA GPU and the NVIDIA Container Toolkit:
# COMPOSE_FILE=docker-compose.yml:docker-compose.gpu.yml

# Any other setting of the README may stand here as well.
END
echo "Wrote $PWD/.env"
