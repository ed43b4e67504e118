#!/bin/sh
# Ends the load of voting-load.yaml, waits for its audit, and prints the account of its ballots. Arguments are passed to each
# kubectl: sh k8s/load/account.sh --namespace voting
set -eu
log=$(mktemp)
trap 'rm -f "$log"' EXIT
kubectl logs --follow job/voting-load "$@" >"$log" &
follow=$!
# The account is in the log, which can be read until the pod is gone: first the reader, then the end.
while [ ! -s "$log" ] && kill -0 "$follow" 2>/dev/null; do sleep 1; done
kubectl delete pod --selector app=voting-load "$@" >/dev/null
wait "$follow"
# The next load has a job of its own.
kubectl delete job/voting-load "$@" >/dev/null
# What comes before is the progress. A load that has no account says why.
if grep -q '^release of voting-app' "$log"; then
  sed -n '/^release of voting-app/,$p' "$log"
else
  cat "$log" >&2
  exit 1
fi
