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

# The sale is read and not locked, in whichever migration says last how.
plant_no_lock() {
  local last
  last=$(grep -l 'FUNCTION lock_for_orders' migrations/*.sql | tail -n 1)
  sed -i 's|WHERE s.id = of_sale FOR NO KEY UPDATE;|WHERE s.id = of_sale;|' "$last"
  grep -q 'WHERE s.id = of_sale;' "$last"
}

# bites NAME SCRIPT [NAME=VALUE…]: k6 must exit non-zero, for the reason it is there for.
bites() {
  local name=$1 script=$2 status=0
  shift 2
  planted "$name"
  start_service "$name" FLASHDEAL_AUTH=open "$@"
  "$script" "$name" >"$work/bites-$name.log" 2>&1 || status=$?
  stop_process "${service_pid[$name]}"
  unset "service_pid[$name]"
  tail -n 25 "$work/bites-$name.log"
  [ "$status" -ne 0 ] || { echo "$script passed on a build with the defect $name"; return 1; }
  echo "$script: exit code $status, as it must be"
}

# tests_are_there: what stands built in `$target` is still this tree.
tests_are_there() {
  local count
  count=$(cargo test --quiet --locked --test it -- --list 2>/dev/null | grep -c ': test$' || true)
  echo "$count tests"
  [ "$count" -gt 200 ]
}
