# The scenarios must be able to fail: two builds with a planted defect each, and k6 must say no to both.
# Sourced after `.ci/checks.sh`, run last: it replaces `$target/debug/flashdeal`.

# planted NAME: this tree with a defect, built beside it (the dependencies are shared).
planted() {
  local copy=$work/teeth
  rm -rf "$copy"
  mkdir "$copy"
  git ls-files -z | grep -zv '^tests/browser/\|^deploy/\|^docs/' | xargs -0 cp --parents -t "$copy"
  # An empty integration test: `cargo test` then builds the binary with the features that it has here already.
  printf '//! Nothing.\n' >"$copy/tests/it/main.rs"
  (cd "$copy" && "plant_$1" && cargo test --quiet --locked --target-dir "$target" --test it --no-run)
  cp "$target/debug/flashdeal" "$flashdeal.new"
  mv -f "$flashdeal.new" "$flashdeal"
}

# Every order gets a key of its own: a double click is two orders.
plant_no_key() {
  sed -i 's|^    Ok(PlaceOrder {$|    let fresh: crate::domain::id::OrderId = new_id();\n'\
'    let key = IdempotencyKey::parse(fresh.to_string().as_bytes()).unwrap_or(key);\n&|' src/adapters/http/orders.rs
  grep -q 'let fresh' src/adapters/http/orders.rs
}

# The sale is read and not locked. The queries are checked at compile time, so the checked copy follows.
plant_no_lock() {
  sed -i 's| FROM sales WHERE id = $1 FOR NO KEY UPDATE"| FROM sales WHERE id = $1 "|' src/adapters/postgres/sale_repo.rs
  python3 - <<'PYTHON'
import glob, hashlib, json
for path in glob.glob(".sqlx/query-*.json"):
    described = json.load(open(path))
    query = described["query"]
    if "FROM sales" in query and query.endswith("FOR NO KEY UPDATE"):
        described["query"] = query.removesuffix("FOR NO KEY UPDATE")
        described["hash"] = hashlib.sha256(described["query"].encode()).hexdigest()
        json.dump(described, open(f".sqlx/query-{described['hash']}.json", "w"), indent=2)
        break
else:
    raise SystemExit("the sale's lock was not found")
PYTHON
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
