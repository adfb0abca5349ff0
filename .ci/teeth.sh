# The scenarios must be able to fail: two builds with a planted defect each, and k6 must say no to both.
# Sourced after `.ci/checks.sh`, run last: it replaces `$flashdeal`.

# planted NAME: this tree with a defect, built beside it, in a target directory of its own with the dependencies that are
# built already. In a shared one cargo takes the builds of two places for one: `cargo test` behind this gate ran no test
# at all and was green.
planted() {
  local copy=$work/teeth own=$work/planted
  if [ ! -d "$own" ]; then
    mkdir -p "$own/debug"
    cp -a "$target/debug/deps" "$target/debug/build" "$target/debug/.fingerprint" "$own/debug/"
  fi
  rm -rf "$copy"
  mkdir "$copy"
  git ls-files -z | grep -zv '^tests/browser/\|^deploy/\|^docs/' | xargs -0 cp --parents -t "$copy"
  # An empty integration test: `cargo test` then builds the binary with the features that it has here already.
  printf '//! Nothing.\n' >"$copy/tests/it/main.rs"
  (cd "$copy" && "plant_$1" && cargo test --quiet --locked --target-dir "$own" --test it --no-run)
  cp "$own/debug/flashdeal" "$flashdeal.new"
  mv -f "$flashdeal.new" "$flashdeal"
}

# Every order gets a key of its own: a double click is two orders.
plant_no_key() {
  sed -i 's|^    Ok(PlaceOrder {$|    let fresh: crate::domain::id::OrderId = new_id();\n'\
'    let key = IdempotencyKey::parse(fresh.to_string().as_bytes()).unwrap_or(key);\n&|' src/adapters/http/orders.rs
  grep -q 'let fresh' src/adapters/http/orders.rs
}

# The sale is read and not locked, in whichever migration says last how. Nothing is sold twice even so: a write that meets
# another row than it had read is refused, so what k6 sees are answers 500.
plant_no_lock() {
  local last
  last=$(grep -l 'FUNCTION lock_for_orders' migrations/*.sql | tail -n 1)
  sed -i 's|WHERE s.id = of_sale FOR NO KEY UPDATE;|WHERE s.id = of_sale;|' "$last"
  grep -q 'WHERE s.id = of_sale;' "$last"
}

# bites NAME SCRIPT THRESHOLD [NAME=VALUE…]: k6 must say that this threshold was crossed (exit code 99), and not stumble
# over something else on its way there.
bites() {
  local name=$1 script=$2 threshold=$3 log=$work/bites-$1.log status=0
  shift 3
  planted "$name"
  start_service "$name" FLASHDEAL_AUTH=open "$@"
  "$script" "$name" >"$log" 2>&1 || status=$?
  stop_process "${service_pid[$name]}"
  unset "service_pid[$name]"
  tail -n 25 "$log"
  if [ "$status" -ne 99 ] || ! grep -q "^ *FAIL  $threshold " "$log"; then
    echo "$script on a build with the defect $name: exit code $status, wanted is 99 by $threshold"
    return 1
  fi
  echo "$script: exit code 99 by $threshold, as it must be"
}

# tests_are_there: what stands built in `$target` is still this tree.
tests_are_there() {
  local count
  count=$(cargo test --quiet --locked --test it -- --list 2>/dev/null | grep -c ': test$' || true)
  echo "$count tests"
  [ "$count" -gt 200 ]
}
