#!/usr/bin/env bash
# Print the metrics and parameters that changed since a revision, as Markdown. Works in any clone with DVC.
set -euo pipefail
base=${1:?usage: $0 REVISION}
table=$(dvc metrics diff "$base" HEAD --targets metrics/summary.json --no-path --md)
params=$(dvc params diff "$base" HEAD --no-path --md)
[[ $table == *$'\n'*$'\n'* ]] || table="No metric changed." # otherwise only a header and a rule
[[ $params == *$'\n'*$'\n'* ]] || params="No parameter changed."
printf '### Metrics compared with %s\n\n%s\n' "$base" "$table"
printf '\n<details><summary>Parameters</summary>\n\n%s\n\n</details>\n' "$params"
printf '\nIntervals: `metrics/compare.md`. A change within an interval may be chance.\n'
