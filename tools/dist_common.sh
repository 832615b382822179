# What the launch scripts share; sourced by them, with TOOLS set to this folder.

ROOT="$(dirname "$TOOLS")"
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

# The environment that is active, else the one that `make env` made, else what the system has.
if [[ -z ${VIRTUAL_ENV:-} && -z ${CONDA_PREFIX:-} && -x $ROOT/.venv/bin/python ]]; then
    PYTHON=$ROOT/.venv/bin/python
else
    PYTHON=$(command -v python || command -v python3) || {
        echo "no python found: make one with 'make env', or activate an environment" >&2
        exit 2
    }
fi

# launch PROCESSES SCRIPT [ARGUMENTS]: run the script in so many processes on this machine.
launch() {
    local where
    if [[ ${NNODES:-1} == 1 && -z ${PORT:-} ]]; then
        where=(--standalone)  # on a free port, so that several runs fit on one machine
    else
        where=(--nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}"
               --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}")
    fi
    exec "$PYTHON" "$TOOLS/launch.py" "${where[@]}" --nproc-per-node "$@"
}

# srun_python PARTITION JOB_NAME SCRIPT [ARGUMENTS]: run the script once a GPU on a SLURM cluster.
srun_python() {
    local per_node=${GPUS_PER_NODE:-8} extra
    read -ra extra <<< "${SRUN_ARGS:-}"
    exec srun --partition "$1" --job-name "$2" --gres "gpu:$per_node" --ntasks "${GPUS:-8}" \
        --ntasks-per-node "$per_node" --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${extra[@]+"${extra[@]}"} "$PYTHON" -u "${@:3}"
}
