#!/usr/bin/env bash
# Test on several GPUs, or on several processes of a machine without one.
#   ./tools/dist_test.sh CONFIG CHECKPOINT GPUS [ARGUMENTS OF tools/test.py]
# Several machines: run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [[ $# -lt 3 || ! $3 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [ARGUMENTS OF tools/test.py]; GPUS is a number from 1 on" >&2
    exit 2
fi
export MMADAPT_COMMAND="$(printf '%q ' "$0" "$@")"
source "$TOOLS/dist_common.sh"
launch "$3" "$TOOLS/test.py" "$1" "$2" --launcher pytorch "${@:4}"
