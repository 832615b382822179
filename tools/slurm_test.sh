#!/usr/bin/env bash
# Test on a SLURM cluster.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] \
#   ./tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [ARGUMENTS OF tools/test.py]
set -euo pipefail

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [[ $# -lt 4 ]]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [ARGUMENTS OF tools/test.py]" >&2
    exit 2
fi
source "$TOOLS/dist_common.sh"
srun_python "$1" "$2" "$TOOLS/test.py" "$3" "$4" --launcher=slurm "${@:5}"
