#!/bin/bash
# A Ray cluster over the nodes of a Slurm job, and a run on it. The repository and its .venv lie where all nodes see them;
# start it there:
#
#   sbatch --nodes 4 cluster/slurm.sh cartpole --rollouts.actors 24
#   sbatch --nodes 1 --gres gpu:1 : --nodes 4 --cpus-per-task 8 cluster/slurm.sh cartpole --rollouts.actors 32
#
# The first node is the head, with the driver; of a job of several groups of nodes (the second line) the first group is the one
# to give a GPU, and the learner goes there. The run's folder is $OUT, or runs/slurm-JOB. Two minutes before its time is up the
# run ends with a checkpoint. Started again with the same $OUT, as `scontrol requeue JOB` does, it goes on from the newest one.
#SBATCH --job-name=distributed_kd
#SBATCH --nodes=2
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?start it by sbatch}"

PYTHON=${PYTHON:-.venv/bin/python}
RAY=$(dirname "$PYTHON")/ray
out=${OUT:-runs/slurm-$SLURM_JOB_ID}
address=$("$PYTHON" -c 'import ray; print(ray.util.get_node_ip_address())') # Slurm runs this script on the first node
port=$((20000 + SLURM_JOB_ID % 10000))                                      # jobs that share a node do not share a port

# Others reach Ray's ports too, and whoever shows the token runs code as you.
token=$HOME/.ray/slurm-$SLURM_JOB_ID.token
(umask 077 && mkdir -p "$HOME/.ray" && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token
export RAY_worker_niceness=0 # lets rollouts give way to a learner on the same node; Ray's own 15 leaves them no room to

steps=()
driver=''
# shellcheck disable=SC2317 # the trap below calls it
end() {
    local code=$?
    if [[ ${#steps[@]} -gt 0 ]]; then kill "${steps[@]}" 2>/dev/null || true; fi # srun ends Ray on its nodes
    wait || true
    rm -f "$token"
    exit "$code"
}
trap end EXIT
trap 'if [[ $driver ]]; then kill -TERM "$driver"; else exit 143; fi' TERM # the run ends with a checkpoint and with 75

start_ray() { # GROUP NODES and the words of ray start: a Ray on each of these nodes of a group
    local group=$1 nodes=$2 count cpus=SLURM_CPUS_PER_TASK_HET_GROUP_$1
    shift 2
    count=$(awk -F, '{print NF}' <<<"$nodes")
    cpus=${!cpus:-${SLURM_CPUS_PER_TASK:-}} # srun does not take it from sbatch by itself
    # Ray's own files go into a folder of the job: other users' may lie in /tmp/ray. The variables are each node's own.
    # shellcheck disable=SC2016
    srun ${SLURM_HET_SIZE:+--het-group="$group"} --nodelist="$nodes" --nodes="$count" --ntasks="$count" \
        ${cpus:+--cpus-per-task="$cpus"} bash -c '
            folder=/tmp/ray-$SLURM_JOB_ID
            mkdir -p -m 700 "$folder"
            trap : TERM # wait for Ray to end
            "$@" --temp-dir "$folder" --num-cpus "$SLURM_CPUS_ON_NODE" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" --block
            rm -rf "$folder"' node "$RAY" start "$@" &
    steps+=($!)
}

wanted=0
for ((group = 0; group < ${SLURM_HET_SIZE:-1}; group++)); do
    list=SLURM_JOB_NODELIST_HET_GROUP_$group
    nodes=$(scontrol show hostnames "${!list:-$SLURM_JOB_NODELIST}" | paste -sd,)
    wanted=$((wanted + $(awk -F, '{print NF}' <<<"$nodes")))
    if [[ $group -eq 0 ]]; then
        start_ray 0 "${nodes%%,*}" --head --node-ip-address "$address" --port "$port" --include-dashboard false
        [[ $nodes == *,* ]] || continue
        nodes=${nodes#*,}
    fi
    start_ray "$group" "$nodes" --address "$address:$port"
done

# The run's plan is held against the nodes that are there when it begins: wait until all are.
"$PYTHON" - "$address:$port" "$wanted" <<'EOP'
import sys, time
import ray

address, wanted = sys.argv[1], int(sys.argv[2])
give_up, there = time.monotonic() + 300, 0
while there < wanted:
    if time.monotonic() > give_up:
        sys.exit(f"after five minutes {there} of {wanted} nodes have come to {address}")
    time.sleep(1)
    try:
        if not ray.is_initialized():
            ray.init(address=address, logging_level="error", log_to_driver=False)
        there = sum(node["Alive"] for node in ray.nodes())
    except ConnectionError:
        pass  # the head is not there yet
EOP

DISTRIBUTED_KD="$PYTHON launch.py" cluster/train_or_resume.sh "$out" "$@" --address "$address:$port" &
driver=$!
code=143
while [[ $code -eq 143 ]] && kill -0 "$driver" 2>/dev/null; do # the signal interrupts `wait`, and the run still has to end
    code=0
    wait "$driver" || code=$?
done
exit "$code"
