# An earlier build and this one side by side on one database (`tests/drill/upgrade.rs`).
# Sourced after `.ci/lib.sh`. UPGRADE_BASE names the commit to come from; without it, the last one before
# this that changed the program.

# earlier_build COMMIT: that commit's binary as `$work/flashdeal-before`. It is built in a directory of its own: in one
# that two worktrees share, cargo takes the build of the one for that of the other.
earlier_build() {
  git worktree add --quiet --force --detach "$work/before" "$1"
  # An empty integration test: `cargo test` then builds the binary with the features that it has here already.
  printf '//! Nothing.\n' >"$work/before/tests/it/main.rs"
  (cd "$work/before" && cargo test --quiet --locked --target-dir "$target/before" --test it --no-run)
  cp "$target/before/debug/flashdeal" "$work/flashdeal-before"
  git worktree remove --force "$work/before"
}

upgrade_rolls() {
  local base=${UPGRADE_BASE:-} from=''
  [ -n "$base" ] || base=$(git rev-list --first-parent --max-count=2 HEAD -- src migrations Cargo.lock | sed -n 2p)
  if [ -z "$base" ]; then
    echo 'no earlier commit is known here: this build beside itself'
  elif ! git diff --quiet "$base" HEAD -- migrations/0001_foundation.sql; then
    echo "$base has another foundation (it may change until the first release): this build beside itself"
  else
    echo "from $(git log -1 --format='%h %s' "$base")"
    earlier_build "$base"
    from=$work/flashdeal-before
  fi
  env ${from:+"UPGRADE_FROM=$from"} cargo test --quiet --locked --test drill -- upgrade
}
