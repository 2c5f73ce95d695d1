#!/usr/bin/env bash
# What is still in the project after `terraform destroy`.
#
# Usage: leftovers.sh PROJECT [REGION] [NAME]
#
# Asks Google, by the labels that Terraform puts on everything, and by the beginning of the name where there are no
# labels. Ends with 0 when nothing is left, with 1 and a line for each thing that is, with 2 when something could not
# be asked. An API that is off has nothing. Budgets belong to the billing account: `gcloud billing budgets list`.
set -uo pipefail

project=${1:?usage: leftovers.sh PROJECT [REGION] [NAME]}
region=${2:-us-central1}
name=${3:-mage}

labelled="labels.app=$name AND labels.managed-by=terraform"
run_labelled="metadata.labels.app=$name AND metadata.labels.managed-by=terraform"
off='has not been used in project|is disabled|not enabled|SERVICE_DISABLED'
said=$(mktemp)
trap 'rm -f "$said"' EXIT
left=0
unasked=0
# In the filters below, a pattern is in single quotes: gcloud takes bare parentheses for its own.

# look KIND COMMAND ...: run it, and say each line that it prints.
look() {
  local kind=$1 found
  shift
  if ! found=$("$@" 2>"$said"); then
    grep -qE "$off" "$said" && return
    echo "could not ask: $kind: $(grep -m 1 -i error "$said" || tail -n 1 "$said")" >&2
    unasked=$((unasked + 1))
    return
  fi
  while IFS= read -r line; do
    [ -n "$line" ] || continue
    echo "left: $kind: $line"
    left=$((left + 1))
  done <<<"$found"
}

ask() {
  local kind=$1
  shift
  look "$kind" gcloud "$@" --project "$project" --quiet
}

ask "Cloud Run service" run services list --region "$region" \
  --filter "$run_labelled" --format 'value(metadata.name)'
ask "Cloud Run job" run jobs list --region "$region" \
  --filter "metadata.name~'^$name-(block-[0-9]+-[0-9a-f]{10}|filestore)$'" --format 'value(metadata.name)'
ask "Cloud SQL instance" sql instances list --filter "settings.userLabels.app=$name" --format 'value(name)'
ask "bucket" storage buckets list --filter "$labelled" --format 'value(name)'
ask "registry" artifacts repositories list --filter "$labelled" --format 'value(name)'
ask "secret" secrets list --filter "$labelled" --format 'value(name)'
ask "Filestore instance" filestore instances list --filter "$labelled" --format 'value(name)'
ask "service account" iam service-accounts list --filter "email~'^$name-(run|deploy)@'" --format 'value(email)'
ask "workload identity pool" iam workload-identity-pools list --location global \
  --filter "name~/${name:0:18}-github- AND state=ACTIVE" --format 'value(name)'
ask "role" iam roles list --filter "name~/${name//-/_}_executor_" --format 'value(name)'
ask "right in the project" projects get-iam-policy "$project" --flatten 'bindings[].members' \
  --filter "bindings.members~'serviceAccount:$name-(run|deploy)@'" --format 'value(bindings.members,bindings.role)'

named="name~'^$name(-redirect|-[0-9a-f]{6})?$'"
for kind in addresses forwarding-rules target-{http,https}-proxies ssl-certificates url-maps backend-services; do
  ask "$kind" compute "$kind" list --global --filter "$named" --format 'value(name)'
done
for kind in network-endpoint-groups security-policies ssl-policies; do
  ask "$kind" compute "$kind" list --filter "name=$name" --format 'value(name)'
done

datasets() {
  bq --quiet --headless --project_id "$project" --format json ls --datasets \
    --filter "labels.app:$name labels.managed-by:terraform" | grep -oE '"datasetId": ?"[^"]+"' | cut -d '"' -f 4
  return "${PIPESTATUS[0]}"
}
look "data set" datasets

if [ "$unasked" -gt 0 ]; then
  echo "$unasked of the questions could not be asked: $left known to be left" >&2
  exit 2
fi
if [ "$left" -gt 0 ]; then
  echo "$left left" >&2
  exit 1
fi
echo "Nothing is left."
