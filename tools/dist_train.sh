#!/usr/bin/env bash
# Train on several GPUs, or on several processes of a machine without one.
#   ./tools/dist_train.sh CONFIG GPUS [ARGUMENTS OF tools/train.py]
# Several machines: run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [[ $# -lt 2 || ! $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CONFIG GPUS [ARGUMENTS OF tools/train.py]; GPUS is a number from 1 on" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
export MMADAPT_COMMAND="$(printf '%q ' "$0" "$@")"
source "$TOOLS/dist_common.sh"
launch "$GPUS" "$TOOLS/train.py" "$CONFIG" --launcher pytorch "${@:3}"
