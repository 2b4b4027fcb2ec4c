"""What orders delivered, worked out of a database of Ballast with nothing of its code.

    python3 settlement.py DATABASE ZONE

Written from the programmes' rules: 10-in-10 with an adjustment on the day of at most 20 % (California ISO), three hours
before and two after (PJM), a firm level, and what was stated when the order came. Prints JSON.
"""

import json
import sqlite3
import sys
from datetime import datetime, timedelta, timezone
from statistics import fmean
from zoneinfo import ZoneInfo

Q = timedelta(minutes=15)
H = timedelta(hours=1)
database, zone = sys.argv[1], ZoneInfo(sys.argv[2]) if sys.argv[2] != "UTC" else timezone.utc
db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)


def at(ms):
    return datetime.fromtimestamp(ms / 1000, timezone.utc)


def floor(t):
    return t - timedelta(minutes=t.minute % 15, seconds=t.second, microseconds=t.microsecond)


load = {}
rows = db.execute(
    "SELECT start_ms, sum(import_j - export_j), sum(by_counter_s + by_power_s), sum(jumps) FROM energy"
    " WHERE kind = 'circuit' AND name = 'pcc' GROUP BY start_ms"
)
for start, joules, seconds, jumps in rows:
    if seconds >= 810 and not jumps:
        load[at(start)] = joules / seconds

method = {source: (name, firm) for source, name, firm in db.execute("SELECT source, baseline, firm_w FROM baselines")}
orders = [
    dict(source=s, name=n, cap=c, stated=b, begin=at(f), end=at(e))
    for s, n, c, b, f, e in db.execute("SELECT source, name, cap_w, baseline_w, from_ms, ended_ms FROM ledger")
]


def days_of(order):
    day = order["begin"].astimezone(zone).date()
    while datetime(day.year, day.month, day.day, tzinfo=zone) < order["end"]:
        yield day
        day += timedelta(days=1)


def shifted(t, days):
    local = t.astimezone(zone)
    then = datetime.combine(local.date() - timedelta(days=days), local.time(), zone)
    return then.astimezone(timezone.utc)


def ten_in_ten(order, quarters, lead):
    begin = order["begin"].astimezone(zone).date()
    weekend = begin.weekday() >= 5
    busy = {day for other in orders if other["source"] == order["source"] for day in days_of(other)}
    chosen = []
    for back in range(1, 46):
        day = begin - timedelta(days=back)
        if day in busy or (day.weekday() >= 5) != weekend:
            continue
        if all(shifted(t, back) in load for t in quarters + lead):
            chosen.append(back)
        if len(chosen) == (4 if weekend else 10):
            break
    usual = lambda t: fmean(load[shifted(t, back)] for back in chosen)
    here = [load[t] for t in lead if t in load]
    factor = min(1.2, max(0.8, fmean(here) / fmean(usual(t) for t in lead)))
    return {t: usual(t) * factor for t in quarters}


result = {}
for order in orders:
    first, quarters = floor(order["begin"]), []
    while first + len(quarters) * Q < order["end"]:
        quarters.append(first + len(quarters) * Q)
    lead = [first - 4 * H + n * Q for n in range(12)]
    name, firm = method.get(order["source"], ("meter-before", None))
    if name == "10-in-10":
        base = ten_in_ten(order, quarters, lead)
    elif name == "same-day-3+2":
        tail = [quarters[-1] + Q + H + n * Q for n in range(8)]
        base = dict.fromkeys(quarters, fmean(load[t] for t in lead + tail))
    else:
        base = dict.fromkeys(quarters, firm if name == "firm" else order["stated"])
    asked = delivered = 0.0
    told = {}
    maintenance = (datetime(2026, 5, 27, 12, 0, tzinfo=zone), datetime(2026, 5, 27, 12, 30, tzinfo=zone))
    for t in quarters:
        held = (min(order["end"], t + Q) - max(order["begin"], t)).total_seconds() / 3600
        told[t.strftime("%Y-%m-%dT%H:%M:%SZ")] = {"baseline_watt_hours": base[t] * held}
        excused = held < 0.25 or t not in load or (t < maintenance[1] and t + Q > maintenance[0])
        if not excused:
            asked += max(0.0, base[t] - order["cap"]) * held
            delivered += (base[t] - load[t]) * held
    result[order["name"]] = {"asked_watt_hours": asked, "delivered_watt_hours": delivered, "quarters": told}
print(json.dumps(result))
