"""A real Prometheus on a port of its own, with our configuration and rules, only faster.

What is changed in the copies, and nothing else: intervals (scrape and evaluation every two seconds, every
rule group as well), the addresses of the targets, and `for:` of the alerts (one second), since a
check cannot wait for minutes. Expressions, windows and labels are those of deploy/prometheus.
"""

import json
import math
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from files import ROOT, RULES

SCRAPE_SECONDS = 2
# Grafana's $__rate_interval is four scrape intervals; $__range is what the operator looks at.
WINDOWS = {"$__rate_interval": f"{4 * SCRAPE_SECONDS}s", "$__range": "10s"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def replaced(text, pattern, by):
    """Like re.sub, but what is to be replaced must be there."""
    text, count = re.subn(pattern, by, text, flags=re.M)
    if count == 0:
        raise SystemExit(f"deploy/prometheus has no {pattern} any more: adapt tests/observe/prometheus.py")
    return text


class Prometheus:
    """Runs while in scope."""

    def __init__(self, folder, metrics_url, token):
        self.folder, self.metrics_url, self.token = Path(folder), metrics_url, token
        self.port = free_port()
        self.process = None

    def __enter__(self):
        self.write_configuration()
        log = open(self.folder / "prometheus.log", "wb")
        self.process = subprocess.Popen(
            [
                shutil.which("prometheus") or "prometheus",
                f"--config.file={self.folder}/prometheus.yml",
                f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=log,
            stderr=log,
        )
        wait_for("Prometheus is ready", 20, lambda: self.get("/-/ready") is not None)
        wait_for("the service is scraped", 20, lambda: self.value('up{job="flashdeal", place="compose"}') == 1)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def write_configuration(self):
        text = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
        parts = urllib.parse.urlsplit(self.metrics_url)
        text = replaced(text, r"(scrape_interval|evaluation_interval): \w+", rf"\1: {SCRAPE_SECONDS}s")
        text = replaced(text, r"scrape_timeout: \w+", f"scrape_timeout: {SCRAPE_SECONDS}s")
        text = replaced(text, '"flashdeal:3000", "flashdeal:9000"', f'"{parts.netloc}"')
        # Nobody listens at port 1: a place that is not used must not alarm anyone.
        text = replaced(text, '"host.docker.internal:3000"', '"127.0.0.1:1"')
        text = replaced(text, '"127.0.0.1:9090"', f'"127.0.0.1:{self.port}"')
        if self.token:
            job = "  - job_name: flashdeal\n"
            text = replaced(text, job, f'{job}    authorization: {{ credentials: "{self.token}" }}\n')
        (self.folder / "prometheus.yml").write_text(text)
        (self.folder / "rules").mkdir()
        for path in RULES.glob("*.yml"):
            rules = re.sub(r"^( +for): \w+$", r"\1: 1s", path.read_text(), flags=re.M)
            rules = re.sub(r"^( +interval): \w+$", rf"\1: {SCRAPE_SECONDS}s", rules, flags=re.M)
            (self.folder / "rules" / path.name).write_text(rules)

    # ------------------------------------------------------------------------------------ asking

    def get(self, path, **parameters):
        """The answer's `data`, {} for an answer without JSON, None when there is no answer."""
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return None
            raise SystemExit(f"{path} {parameters}: {error.read().decode()}") from error
        except OSError:
            return None
        return json.loads(body)["data"] if body.startswith(b"{") else {}

    def value(self, expr):
        """The first value of an instant query, or None."""
        found = (self.get("/api/v1/query", query=expr) or {}).get("result") or []
        return float(found[0]["value"][1]) if found else None

    def series(self, expr, window):
        """Finite values by labels, over a window of two moments."""
        for name, length in WINDOWS.items():
            expr = expr.replace(name, length)
        data = self.get("/api/v1/query_range", query=expr, start=window[0], end=window[1], step=1)
        if data is None:
            raise SystemExit(f"no answer to {expr}")
        found = {}
        for each in data["result"]:
            values = [float(value) for _, value in each["values"]]
            values = [value for value in values if math.isfinite(value)]
            if values:
                found[json.dumps(each["metric"], sort_keys=True)] = values
        return found

    def alerts(self, state="firing"):
        found = (self.get("/api/v1/alerts") or {}).get("alerts", [])
        return {each["labels"]["alertname"]: each for each in found if each["state"] == state}


def wait_for(what, seconds, condition):
    """Polls until `condition` holds; ends the check when it does not in time."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.2)
    raise SystemExit(f"not within {seconds} s: {what}")
