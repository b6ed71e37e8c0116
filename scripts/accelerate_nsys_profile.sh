#!/usr/bin/env bash
# Wrap one of the processes that `accelerate launch` starts in Nsight Systems; the others run bare.
#
#   scripts/accelerate_nsys_profile.sh [options of accelerate launch] -- train.py [words of train.py]
#   scripts/accelerate_nsys_profile.sh --num_processes 8 -- train.py +experiment=scenes128 'trainer.profile=[200,210]'
#
# NSYS_RANK    the process that is wrapped (default 0)
# NSYS_OUTPUT  the report, without .nsys-rep (default nsys/<time>_rank_<rank>)
#
# Only the steps of trainer.profile are captured; trainer.profile_with=nsys is added to the words.
set -euo pipefail

refuse() {
    echo "$0: $1" >&2
    exit 2
}

options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    options+=("$1")
    shift
done
[ $# -ge 2 ] || refuse "no training; usage: $0 [options of accelerate launch] -- train.py [words of train.py]"
shift
case " $*" in
    *" trainer.profile="*) ;;
    *) refuse "no step would be captured; add 'trainer.profile=[FIRST,LAST]' to the words of train.py" ;;
esac
command -v nsys > /dev/null || refuse "nsys is not in PATH; install Nsight Systems, or module load it"

export NSYS_RANK="${NSYS_RANK:-0}"
[[ "$NSYS_RANK" =~ ^[0-9]+$ ]] || refuse "NSYS_RANK=$NSYS_RANK: must be the number of a process, 0 is the first"
export NSYS_OUTPUT="${NSYS_OUTPUT:-nsys/$(date +%Y%m%d_%H%M%S)_rank_$NSYS_RANK}"
mkdir -p "$(dirname "$NSYS_OUTPUT")"

# Every process runs this. RANK is set where there are several.
# shellcheck disable=SC2016
process='
if [ "$NSYS_RANK" -ge "${WORLD_SIZE:-1}" ]; then
    if [ "${RANK:-0}" = 0 ]; then echo "NSYS_RANK=$NSYS_RANK: there are ${WORLD_SIZE:-1} processes, and 0 is the first" >&2; fi
    exit 2
fi
if [ "${RANK:-0}" != "$NSYS_RANK" ]; then exec python "$@"; fi
exec nsys profile --capture-range=cudaProfilerApi --capture-range-end=stop --trace=cuda,nvtx,osrt --sample=none \
    --output="$NSYS_OUTPUT" python "$@"'
exec python -m accelerate.commands.launch "${options[@]}" --no_python bash -c "$process" bash "$@" trainer.profile_with=nsys
