# Seen or not: Prometheus' files, Grafana's dashboards, and a run in which every panel must move.
# Sourced after `.ci/lib.sh` (`url_of`, `database_url`, `$tools`).

# Every alert where it fires and where it is silent; every panel's title, unit and words.
deploy_is_right() {
  promtool check config deploy/prometheus/prometheus.yml
  promtool test rules deploy/prometheus/tests/*.yml
  python3 -B tests/observe/files.py
}

# observe MODE: about 75 s. A real Prometheus scrapes the service, k6 loads it, PostgreSQL is stopped and goes on.
observe() {
  (export "FLASHDEAL_TOKEN=$service_token" "FLASHDEAL_ADMIN_TOKEN=$admin_token" &&
    timeout 180 python3 -B tests/observe/observe.py --url "$(url_of "$1")" --database "$(database_url "$1")" \
      --k6 "$tools/venv/bin/k6" </dev/null)
}
