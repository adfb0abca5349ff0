"""A bill of materials: CycloneDX 1.5 (JSON) of what the released binary is built from.

    python3 .ci/sbom.py >flashdeal.cdx.json

From `cargo metadata` and `Cargo.lock` alone: no further tool, no network. What only tests need is left out,
what only the build needs (macros, build scripts) is marked as excluded from the binary.
"""

import json
import subprocess
import tomllib

TARGET = "x86_64-unknown-linux-gnu"

command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]
metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
with open("Cargo.lock", "rb") as lock:
    locked = {(each["name"], each["version"]): each for each in tomllib.load(lock)["package"]}

packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]


def is_macro(package):
    return any("proc-macro" in target["kind"] for target in package["targets"])


def needs(node, kinds):
    return [
        each["pkg"]
        for each in nodes[node]["deps"]
        if any(kind["kind"] in kinds for kind in each["dep_kinds"])
    ]


def reached(start, kinds, stop=lambda _: False):
    found, todo = set(), [start]
    while todo:
        node = todo.pop()
        if node not in found and not stop(packages[node]):
            found.add(node)
            todo += needs(node, kinds)
    return found


linked = reached(root, {None}, is_macro)
built = reached(root, {None, "build"})


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package):
    found = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
        "scope": "required" if package["id"] in linked else "excluded",
    }
    if package["license"]:
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := locked[package["name"], package["version"]].get("checksum"):
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


ordered = sorted(built, key=lambda node: (packages[node]["name"], packages[node]["version"]))
own = component(packages[root]) | {"type": "application"}
del own["scope"]
print(
    json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"component": own},
            "components": [component(packages[node]) for node in ordered if node != root],
            "dependencies": [
                {
                    "ref": reference(packages[node]),
                    "dependsOn": sorted({reference(packages[each]) for each in needs(node, {None, "build"})}),
                }
                for node in ordered
            ],
        },
        indent=2,
    )
)
