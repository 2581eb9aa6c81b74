#!/bin/sh
# Train into a folder, or go on with the run that lies there: what a scheduler can start again in the same words, as Slurm does
# after a preemption and KubeRay after a failure.
#
#   train_or_resume.sh DIR [words of train ...]
#
# A run that goes on has its settings from its folder: of the words only --address, --runner, --chaos and --allow-env-import
# are handed to `resume`. A run that ended before its first checkpoint is put aside and begun anew. The exit code is the program's.
set -eu
DISTRIBUTED_KD=${DISTRIBUTED_KD:-distributed-kd}   # or "python launch.py", words that a shell splits

out=${1:?a folder for the run}
shift
if [ ! -e "$out/config.toml" ]; then
    # shellcheck disable=SC2086
    exec $DISTRIBUTED_KD train "$@" --out "$out"
fi
if [ ! -e "$out/checkpoints/LATEST" ] && ! grep -Eq '^to = "[^"]+"' "$out/config.toml"; then # nor elsewhere (checkpoint.to)
    aside=$out.without-checkpoint-$(date -u +%Y%m%dT%H%M%SZ)
    mv "$out" "$aside"
    echo "the run in $out had no checkpoint: it is now $aside, and another one begins" >&2
    # shellcheck disable=SC2086
    exec $DISTRIBUTED_KD train "$@" --out "$out"
fi
words=$#
while [ "$words" -gt 0 ]; do # those to hand on go behind the others, and all others are dropped
    word=$1
    shift
    words=$((words - 1))
    case $word in
        --allow-env-import | --address=* | --runner=* | --chaos=*) set -- "$@" "$word" ;;
        --address | --runner | --chaos)
            set -- "$@" "$word" "$1"
            shift
            words=$((words - 1))
            ;;
    esac
done
# shellcheck disable=SC2086
exec $DISTRIBUTED_KD resume "$out" "$@"
