#!/usr/bin/env bash
# Two real Ray nodes on this one machine and a training run over both, to see before there is a cluster what a run does on one.
#
#   cluster/two_nodes_one_machine.sh [--kill STEPS] [--ports] [--out DIR] [words of train ...]
#
#   --kill STEPS   once the run has generated so many steps, the second node loses its power: all its processes at once
#   --ports        two nodes at two addresses of the loopback, even where network namespaces are to be had
#   --out DIR      the run's folder (default: runs/two-nodes-<UTC time>)
#
# Without words it trains cartpole with two rollouts. In namespaces (Linux; as root, or where users may make them) each node
# has a network, a name and processes of its own, joined by one cable. What is started here is known by a mark in its
# environment and ended by process id: other Rays on this machine are left alone. The exit code is the run's.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
RAY=$(dirname "$PYTHON")/ray
HEAD_CPUS=${HEAD_CPUS:-4}     # room for the learner, the replay, the evaluation and every rollout, should the other node go
SECOND_CPUS=${SECOND_CPUS:-2} # too little for all rollouts, so both nodes get some
PORT=${PORT:-6399}

kill_at='' ports='' out=runs/two-nodes-$(date -u +%Y%m%d-%H%M%S) inside=''
while [[ ${1:-} == --* ]]; do
    case $1 in
        --kill) kill_at=${2:?--kill needs a number of steps}; shift 2 ;;
        --ports) ports=yes; shift ;;
        --out) out=${2:?--out needs a folder}; shift 2 ;;
        --inside) inside=yes; shift ;; # it has started itself in a namespace of users, below
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) echo "unknown option $1; try --help" >&2; exit 2 ;;
    esac
done
[[ ! $kill_at || $kill_at =~ ^[0-9]+$ ]] || { echo "--kill takes a number of steps, not $kill_at" >&2; exit 2; }
[[ -x $PYTHON && -x $RAY ]] || { echo "there is no $RAY: make setup, or set PYTHON" >&2; exit 2; }
[[ $# -gt 0 ]] || set -- cartpole --rollouts.actors 2

alone=(--net --mount --uts --pid --fork --mount-proc --kill-child)
if [[ ! $ports && ! $inside ]] && ! unshare "${alone[@]}" true 2>/dev/null; then
    if unshare --user --map-root-user "${alone[@]}" true 2>/dev/null; then
        exec unshare --user --map-root-user --net -- "$0" --inside ${kill_at:+--kill "$kill_at"} --out "$out" "$@"
    fi
    ports=yes
fi

work=$(mktemp -d /tmp/two_nodes.XXXXXX) # Ray's sockets lie below it, and their paths may have 107 letters at most
mark=$(basename "$work")
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$work/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$work/token RAY_worker_niceness=0
export SPT_NOENV=1 # or the titles that Ray gives its processes would be written over their environment, and the mark in it

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }

pids() { # of a node, or of the run, by the mark in their environment
    grep -lzs "^TWO_NODES=$mark/$1\$" /proc/[0-9]*/environ | cut -d/ -f3 || true
}

rollouts() { # how many a node has
    local pid count=0
    for pid in $(pids "$1"); do
        if tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q '^ray::Rollout'; then count=$((count + 1)); fi
    done 2>/dev/null
    echo "$count"
}

told() { say "rollouts: $(rollouts head) on the head node, $(rollouts second) on the second${1:+, $1}"; }

steps() { # that the run has told of last
    local last
    last=$(tail -n 1 "$out/metrics.jsonl" 2>/dev/null | sed -n 's/^{[^{]*"env_steps": *\([0-9]*\).*/\1/p') || true
    echo "${last:-0}"
}

lose() { # a node: all its processes at once, as when a machine loses its power; no word of theirs arrives any more
    local pid
    if [[ ${networks[$1]:-} ]]; then nsenter --net="${networks[$1]}" ip link set cable down || true; fi
    # The namespaces' first process ends with the one that made them, and all others there with that.
    if [[ ! $ports && ${holders[$1]:-} ]]; then kill -KILL "${holders[$1]}" 2>/dev/null || true; fi
    for pid in $(pids "$1"); do kill -KILL "$pid" 2>/dev/null || true; done
}

declare -A holders networks
driver=''
# shellcheck disable=SC2317 # the trap below calls it
end() {
    local code=$? who left=''
    trap '' INT TERM
    if [[ $driver ]]; then # interrupted: the run writes a checkpoint first. Who entered a namespace for it hands on no signal
        kill -TERM "$(pids run | sort -n | head -n 1)" 2>/dev/null || true
        for _ in {1..600}; do
            [[ $(pids run) ]] || break
            sleep 0.1
        done
    fi
    for who in run second head; do lose "$who"; done
    for _ in {1..50}; do
        left=$(for who in run second head; do pids "$who"; done)
        [[ $left ]] || break
        sleep 0.1
    done
    say "left behind: ${left:-nothing}"
    rm -rf "$work"
    exit "$code"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ $ports ]]; then
    head_ip=127.0.0.1 second_ip=127.0.0.2
else
    head_ip=10.213.7.1 second_ip=10.213.7.2 # inside the two namespaces, and nowhere else
fi

start() { # NODE ADDRESS and the words of ray start
    local node=$1 address=$2
    shift 2
    local command=("$RAY" start "$@" --node-ip-address "$address" --temp-dir "$work/$node"
        --object-store-memory 500000000 --disable-usage-stats --block)
    if [[ ! $ports ]]; then # its first process waits for the cable, then starts Ray and buries what dies
        # shellcheck disable=SC2016 # that shell expands it
        command=(unshare "${alone[@]}" -- bash -c '
            hostname "two-nodes-$1"; ip link set lo up
            for try in {1..100}; do ip link show cable >/dev/null 2>&1 && break; sleep 0.1; done
            ip address add "$2/24" dev cable && ip link set cable up && ip route add default dev cable || exit 1
            "${@:3}" & wait $!' node "$node" "$address" "${command[@]}")
    fi
    # A session of its own, as for the run: a signal to all that a terminal or a scheduler has here comes to the script alone.
    TWO_NODES=$mark/$node setsid "${command[@]}" >"$work/$node.log" 2>&1 &
    holders[$node]=$!
    disown # or the shell would tell of its death
}

await() { # NODE: until Ray runs on it
    for _ in {1..600}; do
        grep -qs 'Ray runtime started' "$work/$1.log" && return 0
        kill -0 "${holders[$1]}" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$work/$1.log" >&2
    echo "the node $1 has not started" >&2
    exit 6
}

start head "$head_ip" --head --port "$PORT" --num-cpus "$HEAD_CPUS" --include-dashboard false
if [[ ! $ports ]]; then
    start second "$second_ip" --address "$head_ip:$PORT" --num-cpus "$SECOND_CPUS"
    for node in head second; do # a cable goes into a namespace once that is there
        until [[ $(readlink "/proc/${holders[$node]}/ns/net") != "$(readlink /proc/self/ns/net)" ]]; do sleep 0.1; done
        # Held open: with the namespace both ends of the cable would go, and the other node's address too.
        exec {held}<"/proc/${holders[$node]}/ns/net"
        networks[$node]=/proc/$$/fd/$held
    done
    ip link add cable netns "${holders[head]}" type veth peer name cable netns "${holders[second]}"
    await head
else
    await head
    start second "$second_ip" --address "$head_ip:$PORT" --num-cpus "$SECOND_CPUS"
fi
await second
say "two nodes, $([[ $ports ]] && echo 'at two addresses of the loopback' || echo 'each in namespaces of its own'):" \
    "head $head_ip with $HEAD_CPUS CPU, second $second_ip with $SECOND_CPUS CPU"

on_head=(env --chdir "$PWD" "TWO_NODES=$mark/run") # who enters a namespace is in its root folder
if [[ ! $ports ]]; then
    first=$(<"/proc/${holders[head]}/task/${holders[head]}/children") # of the head's processes
    on_head=(nsenter --target "${first// /}" --net --mount --uts --pid -- "${on_head[@]}")
fi
say "train $* --address $head_ip:$PORT --out $out"
setsid "${on_head[@]}" "$PYTHON" launch.py train "$@" --address "$head_ip:$PORT" --out "$out" &
driver=$!

seen='' lost='' back=''
while kill -0 "$driver" 2>/dev/null; do
    now=$(steps)
    if [[ ! $seen && $now -gt 0 ]]; then
        seen=yes
        told "after $now steps"
    fi
    if [[ $kill_at && ! $lost && $now -ge $kill_at ]]; then
        told "after $now steps"
        lose second
        lost=$now
        say "the second node has lost its power"
    elif [[ $lost && ! $back && $now -gt $lost ]]; then
        back=yes
        told "after $now steps: the run goes on"
    fi
    sleep 0.5
done
code=0
wait "$driver" || code=$?
driver=''
say "the run has ended with $code"
[[ ! -f $out/summary.json ]] || "$PYTHON" - "$out/summary.json" <<'PYTHON'
import json, sys

told = json.load(open(sys.argv[1]))
account = told["accounting"]
print(f"status {told['status']}; actors replaced: {account['restarts']}; steps {account['generated']:,} generated ="
      f" {account['accepted']:,} accepted + {sum(account['dropped'].values())} dropped + {account['unknown']} unknown")
print("normalised scores:", {name: round(one["normalised_score"], 3) for name, one in told["students"].items()})
PYTHON
if [[ $kill_at && ! $lost ]]; then
    echo "the run was over before step $kill_at, so no node was lost" >&2
    [[ $code -ne 0 ]] || code=1
fi
exit "$code"
