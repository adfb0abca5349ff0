"""What can be asked of deploy/ without running anything; Python's standard library alone.

    python3 tests/observe/files.py

Dashboards: fixed uids, a question as each title, a description, a unit, the data source by its uid, no
invented zeros, no panel on top of another, one value of now and not of a while ago. Alerts: a severity, a section in the runbook under the alert's
own name, one unit test where it fires and one where it is silent. Metrics: every one that a query names
is a row of docs/OBSERVABILITY.md. (That the queries are right is `promtool`'s and observe.py's matter.)
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "deploy/grafana/dashboards"
RULES = ROOT / "deploy/prometheus/rules"
TESTS = ROOT / "deploy/prometheus/tests"
UIDS = {"flashdeal-sale-live", "flashdeal-engine-database", "flashdeal-service-health"}
DATA_SOURCE = {"type": "prometheus", "uid": "prometheus"}
GRID_COLUMNS = 24


@dataclass(frozen=True)
class Query:
    """One query of one panel."""

    panel: str  # "dashboard: title"
    ref: str
    expr: str


def dashboards():
    return [json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))]


def queries():
    """Every query of every panel."""
    return [
        Query(f"{board['title']}: {panel['title']}", target["refId"], target["expr"])
        for board in dashboards()
        for panel in board["panels"]
        for target in panel["targets"]
    ]


def alerts():
    """Name and severity of every alert, as written."""
    text = (RULES / "alerts.yml").read_text()
    blocks = re.split(r"^ +- alert: ", text, flags=re.M)[1:]
    severities = [re.search(r"severity: (\w+)", block) for block in blocks]
    return {
        block.split("\n", 1)[0].strip(): severity and severity.group(1)
        for block, severity in zip(blocks, severities)
    }


def faults_of_dashboards():
    boards = dashboards()
    if {board["uid"] for board in boards} != UIDS:
        yield f"the uids are {sorted(board['uid'] for board in boards)}, not {sorted(UIDS)}"
    for board in boards:
        ids = [panel["id"] for panel in board["panels"]]
        if len(set(ids)) != len(ids):
            yield f"{board['title']}: two panels have one id"
        taken = {}
        for panel in board["panels"]:
            where = f"{board['title']}: {panel['title']}"
            yield from (f"{where}: {fault}" for fault in faults_of_panel(panel, taken))


def faults_of_panel(panel, taken):
    """`taken` maps the cells of the grid to the title that has them."""
    defaults = panel["fieldConfig"]["defaults"]
    if not panel["title"].endswith("?"):
        yield "the title is no question"
    if len(panel.get("description", "")) < 20:
        yield "no description says what to do"
    if not defaults.get("unit"):
        yield "no unit"
    if defaults.get("unit") == "short":
        yield "the unit short makes 12 K of 12,345 units: locale or none"
    if panel["type"] == "stat":
        yield from faults_of_stat(panel)
    if not defaults.get("thresholds", {}).get("steps"):
        yield "no thresholds"
    if not panel["targets"]:
        yield "no query"
    for target in [panel, *panel["targets"]]:
        if target.get("datasource") != DATA_SOURCE:
            yield f"the data source is {target.get('datasource')}"
    for target in panel["targets"]:
        if "vector(" in target["expr"]:
            yield "a made-up zero hides a missing series"
        if not target.get("legendFormat"):
            yield "a query without a legend"
    at = panel["gridPos"]
    if at["x"] + at["w"] > GRID_COLUMNS:
        yield "wider than the grid"
    for x in range(at["x"], at["x"] + at["w"]):
        for y in range(at["y"], at["y"] + at["h"]):
            if (x, y) in taken:
                yield f"lies on top of {taken[x, y]}"
                return
            taken[x, y] = panel["title"]


def faults_of_stat(panel):
    """A query over the time shown has a last value when there is none any more, from before the service died."""
    if not all(target.get("instant") is True and target.get("range") is False for target in panel["targets"]):
        yield "a stat panel that is not instant shows the last value of a service that is gone"
    if not panel["fieldConfig"]["defaults"].get("noValue"):
        yield "a stat panel without noValue: what does it say when there is nothing?"
    if panel["options"].get("graphMode") != "none":
        yield "one value is no graph"


def faults_of_alerts():
    runbook = (ROOT / "docs/RUNBOOK.md").read_text()
    sections = set(re.findall(r"^#+ (\w+)$", runbook, flags=re.M))
    rules = (RULES / "alerts.yml").read_text()
    tests = "".join(path.read_text() for path in sorted(TESTS.glob("*.yml")))
    expected = re.findall(r"alertname: (\w+)\n +exp_alerts:( \[\])?", tests)
    for name, severity in alerts().items():
        if severity not in ("critical", "warning"):
            yield f"{name}: severity {severity}"
        if f"runbook_url: docs/RUNBOOK.md#{name.lower()}\n" not in rules:
            yield f"{name}: runbook_url does not name its section"
        if name not in sections:
            yield f"{name}: docs/RUNBOOK.md has no such section"
        if (name, "") not in expected:
            yield f"{name}: no unit test where it fires"
        if (name, " []") not in expected:
            yield f"{name}: no unit test where it is silent"
    for name in sorted({name for name, _ in expected} - set(alerts())):
        yield f"{name}: tested, but there is no such alert"


def faults_of_metrics():
    page = (ROOT / "docs/OBSERVABILITY.md").read_text()
    documented = set(re.findall(r"^\| `([a-z0-9_]+)` \|", page, flags=re.M)) | {"up"}
    rules = {path.name: path.read_text() for path in sorted(RULES.glob("*.yml"))}
    recorded = {name for text in rules.values() for name in re.findall(r"record: (\S+)", text)}
    places = list(rules.items()) + [(query.panel, query.expr) for query in queries()]
    for place, text in places:
        text = re.sub(r"^ *#.*$|description: .*|summary: .*", "", text, flags=re.M)
        for name in sorted(set(re.findall(r"\b([a-z][a-z0-9_]*)\{", text))):
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            if plain not in documented and name not in documented:
                yield f"{place}: {name} is no row of docs/OBSERVABILITY.md"
        for name in sorted(set(re.findall(r"\b(job\w*:[a-z0-9_:]+)", text)) - recorded):
            yield f"{place}: nothing records {name}"


def main():
    faults = [*faults_of_dashboards(), *faults_of_alerts(), *faults_of_metrics()]
    for fault in faults:
        print(fault)
    asked, panels = queries(), sum(len(board["panels"]) for board in dashboards())
    print(f"{len(dashboards())} dashboards, {panels} panels, {len(asked)} queries, {len(alerts())} alerts")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
