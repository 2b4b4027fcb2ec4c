#!/usr/bin/env python3
"""Runs every query of Grafana dashboards against a Prometheus and tells which fail and which give nothing.

    queries.py http://127.0.0.1:9090 monitoring/grafana/*.json

Variables are filled in as Grafana does it: from the Prometheus itself. Each query is run for each site, at one moment and over
the last minutes. A query may give nothing where none of the series is there of which it speaks (no orders, no battery), and
where its comparison fits nothing now; both are told. Everything else that is empty is a mistake.

Exit status: 0 all is well, 1 a query failed or gave nothing without a reason, 2 the call or a file is wrong.
"""

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# What may be asked of a small site within a test; a dashboard that needs more is wrong.
TIMEOUT_SECONDS = 10
POINTS = 60

METRIC = re.compile(r"(?<![\w:])(?:site:)?ballast_\w+(?::\w+)?|(?<![\w:.])(?:up|scrape_\w+_seconds)(?=[{\[\s)]|$)")
COMPARISON = re.compile(r"\s*(?:==|!=|>=|<=|>|<)(?: bool)?\s*-?\d+(?:\.\d+)?")
# What a query leaves out, like `, class!="miner"`.
LEFT_OUT = re.compile(r',\s*\w+!="[^"]*"')
LABEL_VALUES = re.compile(r"^label_values\((?:(?P<selector>.*),)?\s*(?P<label>\w+)\)$", re.S)


class Failed(Exception):
    """Prometheus refused a query or did not answer."""


class Prometheus:
    """The few calls of its API that are needed here."""

    def __init__(self, url):
        self.url = url.rstrip("/")

    def get(self, path, **parameters):
        """The `data` of an answer."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            body = error.read(2000).decode("utf-8", "replace")
            try:
                body = json.loads(body)["error"]
            except (ValueError, KeyError):
                pass
            raise Failed(f"{error.code}: {body}") from None
        except (OSError, ValueError) as error:
            raise Failed(str(error)) from None

    def label_values(self, selector, label):
        """The values of a label, sorted."""
        matching = {"match[]": [selector]} if selector else {}
        return sorted(self.get(f"label/{label}/values", **matching))

    def instant(self, expression, at):
        """How many series there are at a moment."""
        result = self.get("query", query=expression, time=at)
        return len(result["result"]) if result["resultType"] in ("vector", "matrix") else 1

    def range(self, expression, start, end):
        """How many series there are over a time."""
        step = max((end - start) / POINTS, 1)
        return len(self.get("query_range", query=expression, start=start, end=end, step=step)["result"])


def fill_in(text, values):
    """The text with its variables replaced; the longest names first, so that none is a part of another."""
    for name in sorted(values, key=len, reverse=True):
        value = values[name]
        text = re.sub(r"\$\{%s(?::\w+)?\}|\[\[%s\]\]|\$%s(?!\w)" % (name, name, name), lambda _: value, text)
    return text


def variables(prometheus, dashboard, built_in):
    """All sets of values that the dashboard is looked at with: one for each site."""
    sets = [dict(built_in)]
    for variable in dashboard.get("templating", {}).get("list", []):
        name = variable["name"]
        if variable["type"] == "datasource":
            for values in sets:
                values[name] = "prometheus"
            continue
        if variable["type"] != "query":
            raise Failed(f"variable {name}: type {variable['type']} is not known here")
        filled = []
        for values in sets:
            query = variable["query"]
            query = query["query"] if isinstance(query, dict) else query
            parts = LABEL_VALUES.match(fill_in(query, values))
            if parts is None:
                raise Failed(f"variable {name}: `{query}` is not understood here; use label_values()")
            options = prometheus.label_values(parts["selector"], parts["label"])
            if variable.get("includeAll"):
                options = [variable.get("allValue") or ".*"]
            elif name != "site":
                # As Grafana: what the file says, where there is such a value, else the first.
                preferred = variable.get("current", {}).get("value")
                options = [preferred] if preferred in options else options[:1]
            # Where there is no such label, the variable is empty and `label=""` finds what has none.
            filled += [{**values, name: option} for option in options or [""]]
        sets = filled
    return sets


def queries(dashboard):
    """All queries as (panel, expression), those of folded rows included."""
    for panel in dashboard.get("panels", []):
        yield from queries(panel)
        for target in panel.get("targets", []):
            yield panel.get("title", "?"), target["expr"]
    for annotation in dashboard.get("annotations", {}).get("list", []):
        if annotation.get("expr"):
            yield f"annotation {annotation['name']}", annotation["expr"]


def why_empty(prometheus, expression, site, at):
    """Why a query gives nothing, or None where there is no good reason."""
    here = "{site=~%s}" % json.dumps(site) if site is not None else ""
    missing = [name for name in sorted(set(METRIC.findall(expression))) if not prometheus.instant(name + here, at)]
    if missing:
        return f"there is no {', '.join(missing)}"
    without = COMPARISON.sub("", expression)
    if without != expression and prometheus.instant(without, at):
        return "its comparison fits nothing now"
    without = LEFT_OUT.sub("", expression)
    if without != expression and prometheus.instant(without, at):
        return "it leaves out all that there is here"
    return None


def main():
    """Runs all queries of all files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("url", help="where Prometheus answers")
    parser.add_argument("dashboards", nargs="+", help="dashboards as JSON")
    parser.add_argument("--seconds", type=float, default=60, help="how far back ranges reach")
    parser.add_argument("--rate-interval", default="20s", help="what $__rate_interval stands for")
    parser.add_argument("--verbose", action="store_true", help="list the good queries, too")
    options = parser.parse_args()

    prometheus = Prometheus(options.url)
    end = time.time()
    built_in = {
        "__rate_interval": options.rate_interval,
        "__interval": "5s",
        "__range": f"{int(options.seconds)}s",
        "__range_s": str(int(options.seconds)),
    }
    good, explained, wrong = 0, 0, 0
    try:
        for file in options.dashboards:
            with open(file, encoding="utf-8") as opened:
                dashboard = json.load(opened)
            for values in variables(prometheus, dashboard, built_in):
                chosen = " ".join(f"{k}={v}" for k, v in values.items() if not k.startswith("__") and k != "datasource")
                for panel, written in queries(dashboard):
                    expression = fill_in(written, values)
                    place = f"{file} ({chosen}): {panel}: {expression}"
                    if "$" in expression:
                        wrong += 1
                        print(f"WRONG  {place}\n       a variable has no value")
                        continue
                    try:
                        now = prometheus.instant(expression, end)
                        then = prometheus.range(expression, end - options.seconds, end)
                        reason = None if now or then else why_empty(prometheus, expression, values.get("site"), end)
                    except Failed as failed:
                        wrong += 1
                        print(f"WRONG  {place}\n       {failed}")
                        continue
                    if now or then:
                        good += 1
                        if options.verbose:
                            print(f"good   {place}\n       {now} series now, {then} over the time")
                    elif reason:
                        explained += 1
                        print(f"empty  {place}\n       {reason}")
                    else:
                        wrong += 1
                        print(f"WRONG  {place}\n       gives nothing, and all that it speaks of is there")
    except (Failed, OSError, ValueError, KeyError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"{good} queries give something, {explained} nothing with a reason, {wrong} are wrong")
    return 1 if wrong or not good else 0


if __name__ == "__main__":
    sys.exit(main())
