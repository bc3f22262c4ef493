#!/usr/bin/env bash
# Lets schemathesis look for calls that the API answers against its own description, or with a server error.
#
#   tests/http/fuzz.sh target/debug/cpo [SECONDS]
#
# The calls go to `cpo dev` in an empty folder, on a free port. The seed is fixed; a failure prints a curl command for
# each call that shows it. SEED=... tries another one.
set -euo pipefail

cpo=$(realpath "$1")
seconds=${2:-150}
cd "$(dirname "$0")/../.."
tools=target/fuzz
if [ ! -x $tools/bin/schemathesis ]; then
    python3 -m venv $tools
    $tools/bin/pip install --quiet 'schemathesis==4.32.5'
fi

work=$(mktemp -d)
# Two campaigns to call about: one is complete, one waits for a person.
mkdir -p "$work/data/content/autumn" "$work/data/customers"
cp src/cli/starter/content/* "$work/data/content/autumn/"
cp src/cli/starter/customers.csv "$work/data/customers/"
campaign() { sed "s/first-campaign/$1/; s/\"when_flagged\"/\"$2\"/; s|\"content/\"|\"autumn\"|" src/cli/starter/campaign.toml; }
cat >"$work/schemathesis.toml" <<'END'
[dictionaries.campaigns]
values = ["done", "waits", "nobody"]

[parameters]
"path.id" = { dictionary = "campaigns" }
"path.instanceId" = { dictionary = "campaigns" }

# A file of outcomes is taken as it is, and refused after its call where it is none.
[[operations]]
include-path = "/api/campaigns/{id}/outcomes"
checks.negative_data_rejection.enabled = false

# What Durable Functions takes without a word, this takes too; to a method that it does not have it answers 404.
[[operations]]
include-path-regex = "^/api/(instances|orchestrators)"
checks.negative_data_rejection.enabled = false
checks.unsupported_method.enabled = false
END
"$cpo" dev --folder "$work/data" --port 0 >"$work/out" 2>"$work/err" &
app=$!
stop() { kill $app 2>/dev/null || true; wait $app 2>/dev/null || true; rm -rf "$work"; }
trap stop EXIT
until url=$(grep -o 'http://[0-9.:]*/api' "$work/out"); do
    kill -0 $app || { cat "$work/err"; exit 1; }
    sleep 0.1
done

start() {
    campaign "$1" "$2" | curl --silent --show-error --fail-with-body --data-binary @- \
        --header 'content-type: application/toml' "$url/campaigns?customers=customers/customers.csv"
    until curl --silent --fail "$url/campaigns/$1" | grep -q "\"status\":\"$3\""; do sleep 0.2; done
}
start done when_flagged completed
start waits always waiting

# Left out: keys (the Functions host checks them), and what a description cannot say: that a digest, a file's rows or a
# campaign's rules must fit what is there (positive_data_acceptance).
status=0
timeout $((seconds + 60)) $tools/bin/schemathesis --config-file "$work/schemathesis.toml" run "$url/openapi.json" \
    --url "${url%/api}" \
    --seed "${SEED:-2026}" --max-time "$seconds" --workers 1 --generation-database none \
    --phases examples,coverage,fuzzing \
    --exclude-checks ignored_auth,positive_data_acceptance \
    --request-timeout 20 || status=$?
kill -0 $app || { echo "cpo dev ended by itself:"; cat "$work/err"; exit 1; }
exit $status
