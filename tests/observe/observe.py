"""Is a running service seen? A real Prometheus, our dashboards and alerts, k6, and a PostgreSQL that stops.

    python3 tests/observe/observe.py --url http://127.0.0.1:3000 --database "$DATABASE_URL" --k6 k6

No Docker, no Grafana, no packages. In about 75 s:

1. idle: no alert fires, no query fails;
2. loaded: k6 buys, meanwhile every sale's row is held for some seconds, sessions die and clients leave.
   Every query of every dashboard must return numbers, and every one must *move* against the idle time,
   but for the panels in still.json, which says why;
3. the outage: PostgreSQL's processes are stopped (SIGSTOP). `PostgresAway` must fire, with its severity and
   its section of the runbook, and the panels that show it must move; afterwards all is well again.

It changes data (users, sales, orders): never against a database that matters. A token for mode `jwt`:
FLASHDEAL_TOKEN, FLASHDEAL_ADMIN_TOKEN, as in k6/README.md. Exit code 0 only when everything was seen.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import files
from prometheus import SCRAPE_SECONDS, Prometheus, wait_for
from trouble import Database, Frozen, Trouble

IDLE_SECONDS = 16
LOAD_SECONDS = 18
STILL = json.loads((Path(__file__).parent / "still.json").read_text())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--url", required=True, help="the service")
    parser.add_argument("--metrics", help="who has /metrics (FLASHDEAL_OPS_LISTEN); default: the service")
    parser.add_argument("--database", required=True, help="the service's PostgreSQL, on this machine")
    parser.add_argument("--k6", default="k6", help="the program")
    return parser.parse_args()


def main():
    given = arguments()
    url = given.url.rstrip("/")
    token = os.environ.get("FLASHDEAL_ADMIN_TOKEN", "")
    # Whoever ends this early finds Prometheus gone and PostgreSQL going on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        with Prometheus(folder, given.metrics or url, token) as prometheus:
            idle = stay_idle(prometheus)
            loaded = load(prometheus, given.k6, url, Database(given.database), token)
            faults = told(compare(prometheus, files.queries(), idle, loaded))
            faults += told(outage(prometheus, url, Database(given.database), loaded))
    print(f"observed in {time.monotonic() - began:.0f} s, {len(faults)} faults")
    return 1 if faults else 0


def told(faults):
    """At once: what comes after may end the check."""
    for fault in faults:
        print(f"FAULT {fault}", flush=True)
    return faults


def stay_idle(prometheus):
    # The first rates need a few scrapes.
    time.sleep(4 * SCRAPE_SECONDS)
    window = stretch(lambda: time.sleep(IDLE_SECONDS))
    firing = sorted(prometheus.alerts())
    if firing:
        raise SystemExit(f"an idle service, and these alerts fire: {', '.join(firing)}")
    print(f"idle for {IDLE_SECONDS} s, no alert")
    return window


def stretch(work):
    began = time.time()
    work()
    return began, time.time()


def load(prometheus, k6, url, database, token):
    trouble = Trouble(database, url, token)

    def work():
        runs = [
            start_k6(k6, url, "load_test", VUS="32", PAUSE_SECONDS="0.02", DURATION=f"{LOAD_SECONDS}s"),
            start_k6(k6, url, "contention", BUYERS="300", ITEMS="50", VUS="30"),
        ]
        time.sleep(LOAD_SECONDS / 3)
        trouble.start()
        for run in runs:
            out, _ = run.communicate(timeout=120)
            if run.returncode != 0:
                raise SystemExit(f"k6 ended with {run.returncode}:\n{out}")
        trouble.join()
        time.sleep(2 * SCRAPE_SECONDS)  # what was counted last is scraped as well

    window = stretch(work)
    if trouble.error:
        raise SystemExit(f"the trouble could not be made: {trouble.error}")
    print(f"loaded for {window[1] - window[0]:.0f} s, {trouble.died} sessions died")
    return window


def start_k6(k6, url, script, **settings):
    environment = {**os.environ, **settings, "FLASHDEAL_URL": url}
    command = [k6, "run", "--quiet", "--no-color", "--no-usage-report", f"{files.ROOT}/k6/{script}.js"]
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# ------------------------------------------------------------------------------- does it move?


def moved(before, after):
    """Whether a series is new, or has a value outside of what it had before."""
    for labels, values in after.items():
        old = before.get(labels)
        if old is None:
            return True
        slack = 1e-9 * max(1.0, *(abs(value) for value in old))
        if max(values) > max(old) + slack or min(values) < min(old) - slack:
            return True
    return False


def ticked(series):
    """Whether a series has two values: a clock goes in any stretch, and is then where it was before, perhaps."""
    return any(max(values) > min(values) for values in series.values())


def extent(series):
    """The smallest and the largest value of all series."""
    values = [value for each in series.values() for value in each]
    return f"{min(values):g} to {max(values):g}" if values else "nothing"


def compare(prometheus, queries, idle, loaded):
    faults, quiet = [], 0
    for query in queries:
        before, after = prometheus.series(query.expr, idle), prometheus.series(query.expr, loaded)
        quiet += not before
        name = f"{query.panel} [{query.ref}]"
        still = query.panel in STILL["never_moves"]
        late = query.panel in STILL["moves_in_the_outage"]
        if not after:
            faults.append(f"{name}: no number under load: {query.expr}")
        elif still and moved(before, after):
            faults.append(f"{name}: moved, though still.json says never: {after}")
        elif query.panel in STILL["goes_by_itself"]:
            if not ticked(after):
                faults.append(f"{name}: stood still: {query.expr}: {extent(after)}")
        elif not (still or late or query.panel in STILL["may_stand_still"] or moved(before, after)):
            faults.append(f"{name}: did not move under load: {query.expr}: {extent(before)}, then {extent(after)}")
    panels = {query.panel for query in queries}
    named = {panel for kind in STILL.values() for panel in kind}
    faults += [f"still.json names {panel}, which no dashboard has" for panel in sorted(named - panels)]
    print(
        f"{len(queries)} queries of {len(panels)} panels answered; {quiet} had no number while nothing happened;"
        f" {len(panels - named)} panels had to move, {len(named)} are named in still.json"
    )
    return faults


# ----------------------------------------------------------------------------------- the outage


def outage(prometheus, url, database, loaded):
    faults = []
    began = time.time()
    with Frozen(database):
        seconds = wait_for("PostgresAway fires", 30, lambda: "PostgresAway" in prometheus.alerts())
        wait_for("NotReady fires", 20, lambda: "NotReady" in prometheus.alerts())
        alert = prometheus.alerts().get("PostgresAway", {})
        window = (began, time.time())
    print(f"PostgreSQL stopped: PostgresAway fires after {seconds:.0f} s, NotReady as well")
    if alert.get("labels", {}).get("severity") != "critical":
        faults.append(f"PostgresAway has no severity critical: {alert}")
    if not alert.get("annotations", {}).get("runbook_url", "").endswith("#postgresaway"):
        faults.append(f"PostgresAway does not name its section of the runbook: {alert}")
    for query in files.queries():
        if query.panel in STILL["moves_in_the_outage"]:
            before = prometheus.series(query.expr, loaded)
            if not moved(before, prometheus.series(query.expr, window)):
                faults.append(f"{query.panel} [{query.ref}]: did not move in the outage: {query.expr}")
    wait_for("the service is ready again", 20, lambda: is_ready(url))
    wait_for("PostgresAway ends", 20, lambda: "PostgresAway" not in prometheus.alerts())
    print("PostgreSQL goes on: the service is ready, the alert ended")
    return faults


def is_ready(url):
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
