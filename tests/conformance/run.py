#!/usr/bin/env python3
"""Runs the MCP conformance suite against the fixture, and against the gateway in front of it.

Directly, every scored check has to pass. Through the gateway, every check of every scenario,
scored or not, has to come out as it does directly; a difference is accepted only if
differences.toml names it with a reason, and an entry there that no longer differs is an error.
What the checks said is read from the suite's checks.json files; a scenario that crashed leaves
none and counts as failed.
"""

import argparse
import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tools  # noqa: E402

REVISIONS = ("2025-11-25", "2026-07-28")
OUT = tools.OUT / "conformance"

# The suite cannot send an Authorization header (its runner has no option for one), so the gateway
# runs with the fixed principal of its loopback test profile.
CONFIG = """
[listen]
mcp = "127.0.0.1:0"
admin = "127.0.0.1:0"

[auth]
mode = "fixed"
fixed = {{ subject = "suite", roles = ["developer"] }}

[policy]
bundle = "policies/"

[evidence]
path = "evidence/"

[store]
url = "sqlite://forge.db"

[servers.fixture]
url = "{url}"

[servers.child]
command = ["{fixture}", "--stdio"]
"""


def requirements(revision):
    """Names of the scored and of the unscored server scenarios (requirements/*.yaml)."""
    text = pathlib.Path(tools.package("@modelcontextprotocol/conformance", "requirements",
                                      f"{revision}.yaml")).read_text()
    server = re.search(r"^server:\n((?:  - .*\n)+)", text, re.M).group(1)
    scored = re.findall(r"^  - (\S+)$", server, re.M)
    unscored = re.findall(r"^  - scenario: (\S+)\n    leg: server$", text, re.M)
    return scored, unscored


def run(url, revision, label):
    """Checks by scenario, as sorted (id, name, status); None for a scenario without results."""
    folder = OUT / f"{label}-{revision}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open(OUT / f"{label}-{revision}.log", "wb") as log:
        subprocess.run(
            [str(tools.NODE), tools.CONFORMANCE, "server", "--url", url, "--requirements",
             revision, "-o", str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=900, check=False)
    scored, unscored = requirements(revision)
    results = {}
    for scenario in scored + unscored:
        stamp = re.compile(rf"server-{re.escape(scenario)}-\d{{4}}-\d{{2}}-\d{{2}}T[0-9-]+Z")
        found = [path for path in folder.iterdir()
                 if stamp.fullmatch(path.name) and (path / "checks.json").is_file()]
        if len(found) != 1:
            results[scenario] = None
            continue
        checks = json.loads((found[0] / "checks.json").read_text())
        results[scenario] = [
            (check["id"], check.get("name", ""), check["status"], check.get("errorMessage") or "")
            for check in checks if check["status"] != "INFO"]
    return results


def directly(tally, revision, results):
    scored, _ = requirements(revision)
    for scenario in scored:
        checks = results[scenario]
        if checks is None:
            tally.check(False, f"{revision} {scenario}", "the scenario left no results")
            continue
        for identity, name, status, why in checks:
            good = status in ("SUCCESS", "SKIPPED")
            tally.check(good, f"{revision} {scenario} {identity} {name}", f"{status} {why}")


def compare(tally, revision, label, direct, through, allowed):
    for scenario, expected in direct.items():
        seen = through[scenario]
        where = f"{revision} {label} {scenario}"
        if expected is None or seen is None:
            tally.check(expected is None and seen is None, where,
                        "one of the two runs left no results")
            continue
        wanted = collections.Counter((i, n, s) for i, n, s, _ in expected)
        got = collections.Counter((i, n, s) for i, n, s, _ in seen)
        whys = {(i, n, s): why for i, n, s, why in seen}
        for check in sorted(wanted | got):
            identity, name, status = check
            same = wanted[check] == got[check]
            entry = next((entry for entry in allowed
                          if entry["revision"] == revision and entry["scenario"] == scenario
                          and entry["check"] == identity
                          and status in (entry["direct"], entry["gateway"])
                          and entry.get("upstream", label) == label), None)
            if not same and entry is not None:
                entry["used"] = True
                same = True
            tally.check(same, f"{where} {identity} {name}",
                        f"{status}: {wanted[check]} times directly, {got[check]} times through "
                        f"the gateway {whys.get(check, '')}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--direct-only", action="store_true",
                           help="leave the gateway out and compare two direct runs")
    arguments.add_argument("--url", action="append", default=[], metavar="LABEL=URL",
                           help="compare with a gateway that already runs, in front of --direct")
    arguments.add_argument("--direct", metavar="URL", help="a fixture that already runs")
    options = arguments.parse_args()
    tally = tools.Tally()
    allowed = tomllib.loads((tools.HERE / "conformance" / "differences.toml").read_text())
    allowed = allowed.get("difference", [])
    for entry in allowed:
        tally.check(len(entry.get("reason", "")) > 20, f"differences.toml {entry}", "no reason")

    fixture = None
    gateway = None
    try:
        direct_url = options.direct
        if direct_url is None:
            fixture = tools.Process([tools.binary("fixture"), "--port", "0"], OUT / "fixture.log")
            direct_url = fixture.ready["url"]
        targets = dict(pair.split("=", 1) for pair in options.url)
        if not targets and not options.direct_only:
            config = CONFIG.format(url=direct_url, fixture=tools.binary("fixture"))
            gateway = tools.Gateway(config, OUT / "gateway.log")
            base = gateway.mcp.rstrip("/")
            targets = {"http": f"{base}/fixture", "stdio": f"{base}/child"}
        if options.direct_only:
            targets = {"again": direct_url}
        for revision in REVISIONS:
            direct = run(direct_url, revision, "direct")
            directly(tally, revision, direct)
            for label, url in targets.items():
                through = run(url, revision, label)
                compare(tally, revision, label, direct, through, allowed)
    finally:
        for process in (gateway, fixture):
            if process is not None:
                process.stop()
    for entry in allowed:
        tally.check(entry.get("used") or options.direct_only, f"differences.toml {entry}",
                    "there is no such difference any more: remove the entry")
    tally.finish()


if __name__ == "__main__":
    main()
