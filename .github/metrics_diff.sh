#!/usr/bin/env bash
# What has changed in the numbers since a revision, as Markdown for a pull request. Works in any clone with DVC.
set -euo pipefail
base=${1:?usage: $0 REVISION}
table=$(dvc metrics diff "$base" HEAD --targets metrics/summary.json --no-path --md)
params=$(dvc params diff "$base" HEAD --no-path --md)
[[ $table == *$'\n'*$'\n'* ]] || table="No number changes." # else a head and a rule only
[[ $params == *$'\n'*$'\n'* ]] || params="No param changes."
printf '### Numbers against %s\n\n%s\n' "$base" "$table"
printf '\n<details><summary>Params</summary>\n\n%s\n\n</details>\n' "$params"
printf '\nIntervals: `metrics/compare.md`. A change within them says nothing.\n'
