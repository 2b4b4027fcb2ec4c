#!/usr/bin/env python3
"""What any control law could reach in the plant's conditions.

    python3 benches/bounds/bounds.py PATH_TO_PLANT [NAME...]

Needs numpy and scipy. Miners, sun, other load and what counts as captured and imported are the plant's own.

oracle: knows the sun and the load of the whole run. A linear program over means of a second (`dawn`: three), with one mean
        miner, fractions of miners, and a start that draws the full power while it tunes. Nothing is better than this.
law:    knows every miner exactly, and the meter at each of its new values, but nothing of the future. It runs in the plant. Its
        reserve is one constant, the best in hindsight of those that keep the import. Some law reaches this; a better one may exist.
"""
import contextlib, io, sys, warnings

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

sys.path.insert(0, sys.argv[1])
NAMES, sys.argv[1:] = sys.argv[2:], ["--list"]
with contextlib.redirect_stdout(io.StringIO()):
    import plant, run
warnings.simplefilter("ignore")

# What the daemon works with by default: the range of the model file as shares of the limit, 2 % of the nameplates a second,
# a cycle of 1 s, half a second from the meter to the miner, a deadband of 400 W. Where the plant lifts the floor, that counts.
LIMITS = dict(low=0.59, high=0.97, rate=2_640.0, period=1.0, late=0.5, band=400.0, in_flight=True)
KNOWS = dict(low=0.0, high=1.0, rate=1e9, period=0.5, late=0.1, band=200.0, in_flight=False)
RESERVES = (500, 1_000, 1_500, 2_000, 2_500, 3_000, 4_000, 5_000)
FAST = dict(LIMITS, period=0.5)
RARE = dict(LIMITS, period=60.0, rate=1e9, window=61, in_flight=False)
WAKES = [("all known", KNOWS), ("our limits", LIMITS), ("our limits, wakes by the least", dict(LIMITS, by_least=True, worth=47e3))]
FEW = ("our limits, five starts", dict(LIMITS, starts=5))
DWELL, LEAST_OF = dict(guess="dwell"), dict(guess="least")
SWITCHING = [("all known, lowest of 14 s", KNOWS | LEAST_OF), ("our limits, lowest of 14 s", FAST | LEAST_OF), ("the same, five starts", FAST | LEAST_OF | {"starts": 5}),
             ("our limits, dwell", FAST | DWELL), ("our limits, dwell, 10 kW/s", FAST | DWELL | {"rate": 10e3}), ("all known, dwell", KNOWS | DWELL)]
PATIENT = ("our limits, five starts, slower to sleep", dict(LIMITS, starts=5, patience=8e3))
# Condition: the import that is allowed (%), the most starts for each miner and day and more for the oracle, and the laws.
WHAT = {
    "flutter": (0.05, [(None, {})], WAKES),
    "dawn": (0.03, [(most, dict(step=3, first=12, proof=(few, 90))) for few, most in ((11, 10), (4, 10), (4, 14))], WAKES),
    **{name: (share, [(None, {}), (10, {})], [*WAKES, FEW, PATIENT]) for name, share in (("floor65", 0.07), ("floor75", 0.07), ("ignore", 0.09))},
    "slow": (0.10, [(10, {})], [("all known", dict(KNOWS, slice_=4.0)), ("our limits", LIMITS), ("our limits, spread", dict(LIMITS, slice_=4.0))]),
    "square20": (0.10, [(10, {})], SWITCHING), "square50": (0.10, [(10, {}), (25, {}), (40, {})], SWITCHING),
    "refresh60_nf": (0.50, [], [(f"our limits, {k} s later", dict(RARE, offset=k)) for k in (0, 20, 40)]),
}

def site(name, offset=0):
    """The condition and its surplus, made as the plant makes it."""
    c = dict(run.CONDITIONS[name])
    c["offset"] = c.get("offset", 0) + offset
    s = (run.TRACES[c["trace"]]() * c["scale"])[c["offset"]:c["offset"] + c["dur"] + 5] - c.get("load", 0)
    watts, period = c.get("square", (0, 1))
    return c, s - np.where((np.arange(len(s)) // period) % 2 == 0, 0, watts)


def oracle(name, budget, most, step=1, first=0, proof=(0, 0)):
    """Captured (%) and starts with at most `budget` % imported and `most` starts; nobody starts before `first` s, and at most
    proof[0] before proof[1] s."""
    c, s = site(name)
    p = plant.Plant(c, s)
    steps, warm = c["dur"] // step, -(-c["warm"] // step)
    # In kW, so that the solver's tolerances mean something.
    each = np.maximum((s[:steps * step] + s[1:steps * step + 1]) / 2e3, 0)
    full, least = p.limit * (1 + p.err) / 1e3, p.minp * (1 + p.err) / 1e3
    usable = np.where(each >= least.min(), np.minimum(each, full.sum()), 0).reshape(steps, step).mean(1)
    sun = each.reshape(steps, step).mean(1)
    can = ~p.ignore
    count, top, floor, up, down = can.sum(), full[can].mean(), least[can].mean(), step * p.ru[can].mean() / 1e3, step * p.rd[can].mean() / 1e3
    fixed, running = (0, 0) if c.get("asleep") else (p.p[~can].sum() / 1e3, count)
    quiet, tuning = int(p.start.min() / step), int((p.tune.min() + (p.limit / p.ru).mean()) / step)
    way = quiet + tuning
    start = np.r_[np.full(quiet, 0.02), np.minimum(1.02 * top, up * (np.arange(tuning) + 0.5)) - 0.015]
    one, none = sp.identity(steps), sp.csr_matrix((steps, steps))
    delta = sp.diags([1.0, -1.0], [0, -1], shape=(steps, steps))
    before = lambda k: sp.diags([1.0], [-k], shape=(steps, steps))
    over = lambda values: sp.diags(values, [-k for k in range(len(values))], shape=(steps, steps))
    # Running, woken, put to sleep, their draw, captured, imported.
    row = lambda **parts: sp.hstack([parts.get(k, none) for k in "rwsdci"])
    only = lambda k, values: sp.csr_matrix(np.concatenate([values if j == k else np.zeros(steps) for j in range(6)]))
    asleep, to = 0.015 * count + fixed, np.arange(steps) * step
    at_first, counted = (to == 0) * 1.0, to >= warm * step
    drawn0 = 0 if c.get("asleep") else p.p[can].sum() / 1e3
    per_day = 24 / (p.n * (steps - warm) * step / 3600)
    draw = dict(d=one, r=-0.015 * one, w=over(start))
    rows = [
        (row(d=one, r=-top * one), 0), (row(d=-one, r=floor * one), 0),
        (row(d=delta, r=-up * before(1), w=-1.02 * top * before(way)), at_first * (drawn0 + up * running)),
        (row(d=-delta, r=-down * one, s=-top * one), -at_first * drawn0),
        (row(r=one, w=over(np.ones(way))), count),
        (row(c=one, **{k: -v for k, v in draw.items()}), asleep), (row(i=-one, **draw), sun - asleep),
    ]
    limit = np.concatenate([np.broadcast_to(b, steps).astype(float) for _, b in rows]
                           + [[budget / 100 * sun[counted].sum()], [1e6 if most is None else most / per_day], [proof[0] if proof[1] else 1e6],
                              [0.001 * sun[~counted].sum() if c.get("asleep") else 1e9]])
    less = sp.vstack([a for a, _ in rows] + [only(5, counted * 1.0), only(1, counted * 1.0), only(1, (to < proof[1]) * 1.0),
                                             only(5, ~counted * 1.0)])
    high = np.full(6 * steps, np.inf)
    high[4 * steps:5 * steps], high[steps:2 * steps][to < first] = usable, 0
    goal = (only(1, counted * 0.01) - only(4, counted * 1.0)).toarray()[0]
    found = linprog(goal, A_ub=less, b_ub=limit, A_eq=row(r=delta, w=-before(way), s=one), b_eq=at_first * running,
                    bounds=np.c_[np.zeros(6 * steps), high], method="highs")
    assert found.status == 0, found.message
    woken = found.x[steps:2 * steps][counted].sum()
    return 100 * found.x[4 * steps:5 * steps][counted].sum() / usable[counted].sum(), woken * per_day


class Law:
    """Holds the fleet at what is guessed of the surplus less a constant reserve; the quickest miners move first."""

    def __init__(self, p, reserve, low, high, rate, period, late, band, in_flight, guess="last", edge=10e3, window=30, by_least=False,
                 worth=20e3, patience=3e3, slice_=1e9, starts=10**9):
        self.__dict__.update({k: v for k, v in locals().items() if k != "self"})
        full = p.limit * (1 + p.err)
        self.full, self.least, self.top = full, np.maximum(p.minp * (1 + p.err), low * full), high * full
        self.goal, self.off, self.order = np.where(p.phase == 3, p.goal(), 0.0), p.phase == 0, np.argsort(p.dead)
        self.raised, self.seen, self.queue, self.woken = np.full(p.n, -1e9), [], [], set()
        self.missing = self.left = 0.0
        self.slept, self.last_woken, self.edges, self.jump, self.measure = -99.0, -99.0, [], 0.0, None

        self.tell = lambda i, what, value=None: self.queue.append((p.t + late, i, what, value))

    def expect(self, t, x):
        """What is taken to be there until the miners have moved."""
        recent = min(v for a, v in self.seen if a >= t - 14)
        if self.guess != "dwell":
            return x if self.guess == "last" else recent
        # A load that switches: how far, and for how long it has stayed away of late.
        if self.measure and t >= self.measure[0] + 1.4:
            jump = abs(x - self.measure[1])
            self.jump, self.measure = jump if self.jump == 0 else 0.6 * self.jump + 0.4 * jump, None
        change = x - next(v for a, v in self.seen if a >= t - 1.6)
        rose = bool(change > 0)
        if abs(change) > self.edge and not (self.edges and self.edges[-1][1] == rose):
            self.edges = [*self.edges[-19:], (t, rose)]
            self.measure = (t, next(v for a, v in self.seen if a >= t - 2.1))
        stays = [b - a for (a, was), (b, _) in zip(self.edges, self.edges[1:]) if was][-5:]
        if not self.edges:
            return recent
        if not self.edges[-1][1] or (len(stays) > 2 and t - self.edges[-1][0] < min(stays) - 2.5):
            return x
        return x - self.jump

    def cycle(self, t, x):
        p, full, least = self.p, self.full, self.least
        self.seen = [*(v for v in self.seen if v[0] > t - 65), (t, x)]
        mine = ~p.ignore & ~self.off
        run_, tuning, quiet = mine & (p.phase == 3), mine & (p.phase == 2), mine & (p.phase == 1)
        told = sum(p.phase[i] == 0 and not self.off[i] for i in self.woken)
        # Others, those that sleep, and those that start.
        rest = p.p[p.ignore].sum() + 15 * self.off.sum() + 35 * quiet.sum() + 1.02 * full[tuning].sum()
        goal = self.expect(t, x) - self.reserve - rest
        # Sleep: more is drawn at the lowest than there is, and that has come to so many watt-seconds.
        there = x if self.guess == "last" else min(v for a, v in self.seen if a >= t - 16)
        lack = least[run_].sum() + rest - there
        self.missing = max(self.missing + lack * self.period, 0) if lack > 0 else 0.0
        if self.missing > self.patience and t - self.slept > 2 and run_.any():
            for i in [i for i in self.order if run_[i]][:max(int(np.ceil(lack / 1800)), 1)]:
                self.tell(i, "off")
                self.off[i], run_[i], self.goal[i], self.missing, self.slept = True, False, 0, 0.0, t
        # Wake: what those that run cannot take has come to so many watt-seconds, and they can make room.
        lately = [v for a, v in self.seen if a > t - self.window]
        low, usual = np.quantile(lately, 0.05), np.mean(lately)
        usual = low if self.by_least or self.guess == "least" else usual
        for k in range(max(int(self.period), 1)):
            if t < self.window / 2 or t - self.slept <= 20 or not self.off.any() or (k == 0 and t - self.last_woken < 1):
                break
            starts = told + k
            base = least[run_].sum() + 1.02 * full[quiet | tuning].sum() + 3400 * starts + p.p[p.ignore].sum()
            top = self.top[run_ | quiet | tuning].sum() + self.top.mean() * starts + p.p[p.ignore].sum()
            left = usual - self.reserve - top
            self.left = max(self.left + left * self.period, 0) if k == 0 else self.left
            if base + 3400 > low - 1500 or self.left <= self.worth or left <= 0 or p.starts + starts >= self.starts:
                break
            i = next(i for i in self.order[::-1] if self.off[i])
            self.tell(i, "on")
            self.woken.add(i)
            self.off[i], self.goal[i], self.left, self.last_woken = False, full[i], self.left / 2, t
        # Who is told what.
        ids = np.array([i for i in self.order if run_[i]], int)
        new = self.goal[ids].copy()
        more = min(max(goal, least[ids].sum()), self.top[ids].sum()) - new.sum()
        if more > 0 and self.in_flight:
            more = min(max(goal, least[ids].sum()), self.top[ids].sum()) - np.maximum(p.p[ids], new).sum()
        more = min(more, self.rate * self.period)
        spare = self.top[ids] - new
        quick = len(ids) // 2
        if more < 0:
            for part, (j, i) in [(part, each) for part in (self.slice_, 1e9) for each in enumerate(ids)]:
                # First no more from one than it gives within that time.
                take = max(min(new[j] - least[i], -more, new[j] - (p.p[i] - p.rd[i] * part)), 0) if more < -1 else 0
                new[j], more = new[j] - take, more + take
        elif more > self.band:
            for j, i in enumerate(ids):
                give = min(self.top[i] - new[j], more, max(p.p[i] + p.ru[i] * self.slice_ - new[j], 0)) if more > 1 and t - self.raised[i] >= 2 else 0
                new[j], more = new[j] + max(give, 0), more - max(give, 0)
        elif spare[:quick].sum() > 0.3 * (full - least)[ids[:quick]].sum():  # the slow ones give the quick ones their room back
            amount = min(1500.0, spare[:quick].sum())
            for j in range(len(ids) - 1, quick - 1, -1):
                new[j], amount = max(new[j] - amount, least[ids[j]]), max(amount - (new[j] - least[ids[j]]), 0)
        for j, i in enumerate(ids):
            if abs(new[j] - self.goal[i]) > 1:
                self.raised[i], self.goal[i] = t if new[j] > self.goal[i] else self.raised[i], new[j]
                self.tell(i, "pct", 100 * new[j] / full[i])


def simulate(name, reserve, offset=0, **how):
    c, s = site(name, offset)
    p = plant.Plant(c, s)
    how = {"edge": c["square"][0] / 2, **how} if c.get("square") else how
    law, last, marked = Law(p, reserve, **how), -99.0, False
    while p.t < c["dur"]:
        due = p.mnext
        p.step(0.1)
        while law.queue and law.queue[0][0] <= p.t:
            p.cmd(*law.queue.pop(0)[1:])
        if not marked and p.t >= c["warm"]:
            marked = p.mark() is None
        if p.mnext != due and p.t > 1 and p.t - last >= how["period"] - 0.01:
            last = p.t
            law.cycle(p.t, p.fval - p.mval)
    return p.fin(c["warm"])


def alone():
    """`outage` with nobody who commands: how soon the fleet is back, and what that captures if it never draws more than there is."""
    for seed in (5, 6, 7):
        c, s = site("outage")
        p = plant.Plant(dict(c, seed=seed), s)
        while p.t < c["dur"]:
            p.step(0.1)
        t, sun, fleet = np.array(p.rec)[:, :3].T
        back = t[(t > c["outage"][1]) & (fleet >= 0.8 * sun)][0] - c["outage"][1]
        share = 100 * np.minimum(fleet, sun)[t >= c["warm"]].sum() / sun[t >= c["warm"]].sum()
        print(f"outage        nobody commands (fleet {seed}): four fifths of the surplus {back:.0f} s after the power; captured at most {share:.1f} %")


if not NAMES or "outage" in NAMES:
    alone()
for name in [n for n in NAMES or WHAT if n in WHAT]:
    budget, bounds, laws = WHAT[name]
    for most, how in bounds:
        captured, starts = oracle(name, budget, most, **how)
        print(f"{name:13s} oracle {str(how or ''):42s} import {budget:.2f} %, starts at most {most}: captured {captured:6.2f} %, starts {starts:.1f}", flush=True)
    for label, how in laws:
        tried = [(r, simulate(name, r, **how)) for r in RESERVES]
        kept = [x for x in tried if x[1]["imported_pct"] <= budget] or [min(tried, key=lambda x: x[1]["imported_pct"])]
        r, best = max(kept, key=lambda x: x[1]["captured_of_usable"])
        print(f"{name:13s} law {label:30s} reserve {r:5d} W: captured {best['captured_of_usable']:6.2f} %, imported {best['imported_pct']:.3f} %, "
              f"starts {best['starts_per_miner_day']:.1f}, commands {best['cmds_per_miner_h']:.0f}", flush=True)
