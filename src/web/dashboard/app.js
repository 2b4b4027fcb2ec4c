// The page: takes the stream of the daemon and shows what it says, or that it says nothing.

import { forgetRefusals, get, notOffered, offers, person, readOffers, token } from "./api.js";
import { Chart } from "./chart.js";
import * as circuits from "./circuits.js";
import { $, announce, attribute, setIcon, show, text } from "./dom.js";
import { Fleet } from "./fleet.js";
import { capital, clock, day, span, wholeSpan, zone } from "./format.js";
import * as miners from "./miners.js";
import * as moves from "./moves.js";
import { buttons, renderAlarms, renderMeters, renderOrders, renderSources } from "./signals.js";
import { follow } from "./stream.js";
import * as why from "./why.js";

// Seconds without a frame, beyond what is usual here, until values count as old.
const LATE = 5;
const ORDERS_EVERY = 5_000;
const DETAILS_EVERY = 3_000;
const ALARMS_EVERY = 15_000;

let fleet = null;
let frame = null;
// performance.now() of the latest frame.
let arrived = 0;
// Seconds between frames, as seen.
let usual = 1;
let open = false;
let refusal = 0;
let lostSince = performance.now();
let planned = false;
let orders = null;
let delivered = null;
let alarms = null;
let maintenance = null;
let alarmsSeen = "";
let spoken = "";
const due = { orders: 0, details: 0, alarms: 0, maintenance: 0 };

// The daemon's time, carried on by this browser's steady clock: a wrong wall clock here changes nothing.
const now = () => (frame ? frame.at + (performance.now() - arrived) : Date.now());

const chart = new Chart({ canvas: $("chart-canvas"), holder: $("chart-holder"), legend: $("chart-legend"), when: $("chart-when"), table: $("chart-table") });

// ---- What comes in ----

function take(name, value) {
	if (name === "roster") {
		fleet = new Fleet(value);
		fleet.takeWork(maintenance);
		miners.setFleet(fleet);
		circuits.forget();
		refreshAll();
	} else if (name === "frame") {
		if (!fleet || value.generation !== fleet.generation) {
			// A frame of another generation than the roster: everything is asked for anew.
			fleet = null;
			stream.again();
			return;
		}
		const at = performance.now();
		if (arrived) usual = Math.min(30, usual * 0.8 + Math.max(0.2, (at - arrived) / 1000) * 0.2);
		if (at - arrived > 2 * LATE * 1000 && arrived) loadHistory();
		frame = value;
		arrived = at;
		fleet.take(value.miners.rows);
		record();
		plan();
	}
}

function record() {
	const { cycle } = frame.status;
	if (!cycle) return;
	const root = cycle.circuits[0];
	chart.add(frame.at, {
		surplus: cycle.fleet.surplus_watts, draw: cycle.fleet.power_watts, grid: root?.power_watts ?? null, budget: cycle.fleet.budget_watts, cap: cycle.fleet.cap_watts ?? null,
	}, cycle.binding.source);
}

// ---- What is shown ----

// Draws once for all that has come since the last time, and not at all while nobody looks.
function plan() {
	if (planned || document.hidden) return;
	planned = true;
	requestAnimationFrame(() => {
		planned = false;
		render();
	});
}

function render() {
	if (!frame || !fleet) return;
	const from = performance.now();
	const { status } = frame;
	const states = fleet.counts();
	const counts = Object.fromEntries(fleet.states.map((name, index) => [name, states[index]]));
	why.render(status, counts, maintenance, fleet, frame.alarms);
	if (alarms) showAlarms();
	miners.update();
	if (status.cycle) {
		circuits.render(status.cycle, fleet, now());
		renderMeters(status.cycle.meters);
	}
	renderSources(status.signals);
	chart.draw();
	chips();
	say(status, counts);
	text($("version"), `Ballast ${status.version}`);
	document.body.classList.remove("waiting");
	freshness();
	measure("ballast-update", from);
}

// Says aloud what changes the picture, not what changes with every cycle.
function say(status, counts) {
	const key = `${status.mode} ${status.cycle?.binding.source ?? ""}`;
	if (spoken && spoken !== key) announce(why.sentence(status, counts, fleet));
	spoken = key;
}

function chips() {
	const sum = frame.alarms;
	const raised = sum ? sum.critical + sum.warning + sum.notice : 0;
	show($("alarm-count"), raised > 0);
	if (raised) {
		const worst = sum.critical ? "critical" : sum.warning ? "warning" : "notice";
		attribute($("alarm-count"), "data-level", worst);
		text($("alarm-count"), `${raised} alarm${raised === 1 ? "" : "s"}${sum.unacknowledged ? `, ${sum.unacknowledged} new` : ""}`);
	}
	// What alarms say changes while they stand.
	const key = sum ? `${JSON.stringify(sum)}${raised ? Math.floor(performance.now() / 5000) : ""}` : "";
	if (key !== alarmsSeen) {
		alarmsSeen = key;
		due.alarms = 0;
	}
}

let measured = 0;
// Leaves how long an update took where tools of the browser find it.
function measure(name, from) {
	performance.measure(name, { start: from, end: performance.now() });
	measured = (measured + 1) % 300;
	if (!measured) performance.clearMeasures(name);
}

// How old what is shown is, in the header, and in words across the page once it is too old.
function freshness() {
	const seconds = frame ? (performance.now() - arrived) / 1000 : (performance.now() - lostSince) / 1000;
	const cycle = frame?.status.cycle;
	const age = frame ? seconds + (cycle?.age_seconds ?? 0) : null;
	const late = seconds > Math.max(LATE, usual * 4);
	const state = !frame ? "wait" : late ? "lost" : "live";
	attribute($("fresh"), "data-state", state);
	text($("fresh-words"), state === "live" ? `live, ${span(age)} old` : state === "lost" ? `no data for ${wholeSpan(seconds)}` : "connecting");
	document.body.classList.toggle("stale", state === "lost");
	if (chart.stale !== (state === "lost")) {
		chart.stale = state === "lost";
		chart.values();
	}
	const words = refusal === 503 ? "The daemon has no room for one more page that watches it: close another one."
		: refusal === 401 || refusal === 403 ? "From here this page needs a token, of any scope."
		: state === "lost" ? `No data for ${wholeSpan(seconds)}${open ? ": connected, but no control cycle completes" : ": the daemon is not reached"}. What is shown is from ${clock(frame.at, true)}; miners stand at what they were last told.`
			: state === "wait" && seconds > LATE ? `No data yet: ${open ? "connected, but no control cycle completes" : "the daemon is not reached"}. Trying again.` : "";
	const banner = $("banner");
	const was = !banner.hidden;
	show(banner, words !== "");
	if (words) {
		setIcon($("banner-icon"), "critical");
		// Read aloud when it appears, not with each second that it counts.
		attribute(banner, "aria-live", was ? "off" : null);
		text($("banner-words"), words);
		show($("banner-action"), refusal === 401 || refusal === 403);
	} else if (was) announce("Data comes again.");
}

function tick() {
	const at = now();
	text($("clock"), clock(at, true));
	attribute($("clock"), "datetime", new Date(at).toISOString());
	text($("zone"), zone(at));
	const off = frame ? (Date.now() - at) / 1000 : 0;
	text($("clock-note"), Math.abs(off) > 30 ? `The clock of this computer is ${span(Math.abs(off))} ${off > 0 ? "ahead of" : "behind"} the daemon's; times here are the daemon's, of ${day(at)}.` : "");
	freshness();
	if (!document.hidden) ask();
}

// ---- What is asked for ----

async function loadHistory() {
	if (!offers("get", "history")) return;
	const answer = await get("history?minutes=360");
	if (answer.status === 404) notOffered("history");
	if (!answer.ok || !answer.data) return;
	chart.load(answer.data);
	if (frame) record();
	chart.draw();
}

async function ask() {
	const at = performance.now();
	const wanted = (key, every) => {
		if (at < due[key]) return false;
		due[key] = at + every;
		return true;
	};
	if (!open) return;
	if (token() && wanted("orders", ORDERS_EVERY)) await askOrders();
	if (wanted("alarms", ALARMS_EVERY)) await askAlarms();
	if (wanted("maintenance", ALARMS_EVERY)) await askMaintenance();
	if (wanted("details", DETAILS_EVERY)) await miners.refresh();
}

async function askOrders() {
	const [given, records] = await Promise.all([get("limits"), get("orders")]);
	if (given.status === 0) return;
	orders = given;
	delivered = records;
	renderOrders(orders, delivered, now(), orderActs);
}

async function askAlarms() {
	const there = offers("get", "alarms", Boolean(frame?.alarms));
	show($("alarms"), there && alarms !== null);
	if (!there) return;
	const answer = await get("alarms");
	if (answer.status === 404) notOffered("alarms");
	if (!answer.ok) return;
	alarms = answer.data.alarms;
	show($("alarms"), true);
	showAlarms();
}

function showAlarms() {
	renderAlarms(alarms, now(), alarmActs, !why.critical);
}

async function askMaintenance() {
	if (!offers("get", "maintenance", false)) return;
	const answer = await get("maintenance");
	if (answer.status === 404) notOffered("maintenance");
	if (!answer.ok) return;
	maintenance = answer.data?.maintenance ?? [];
	fleet?.takeWork(maintenance);
	plan();
}

// ---- What may be done ----

function orderActs(place, order) {
	buttons(place, order.source === "operator" && order.phase !== "over" ? [["Clear …", `Clear ${order.id}`, () => moves.clear(order)]] : []);
}

function alarmActs(place, alarm) {
	const may = token() && alarm.cleared === null && !alarm.acknowledged && offers("post", "alarms/{}/acknowledge");
	buttons(place, may ? [["Acknowledge …", `Acknowledge ${alarm.kind} of ${alarm.subject}`, () => moves.acknowledge(alarm)]] : []);
}

function maintenanceActs(kind, target) {
	if (!token() || !offers("put", "maintenance/{}", maintenance !== null)) return [];
	const entry = maintenance?.find((one) => one.name === target && (one.kind ?? kind) === kind);
	return entry ? [[`End maintenance (${entry.by ?? ""}, ${moves.untilOf(entry, now())}) …`, () => moves.endMaintenance(entry)]] : [["Maintenance …", () => moves.maintain(kind, target)]];
}

circuits.setActs((place, name, latched) => {
	if (!token()) return buttons(place, []);
	if (latched && offers("post", "stops/{}/release")) return buttons(place, [["Release …", `Release the emergency stop of ${name}`, () => moves.release(name)]]);
	const limit = ["Set a limit …", () => moves.setLimit(name)];
	const kept = maintenanceActs("circuit", name);
	if (!kept.length) return buttons(place, [["Limit …", `Set a limit at ${name}`, limit[1]]]);
	return buttons(place, [["…", `Limit or maintenance of ${name}`, () => moves.choose(name, [limit, ...maintenanceActs("circuit", name)])]]);
});

moves.use({
	get fleet() { return fleet; },
	get maintenance() { return maintenance; },
	get status() { return frame?.status; },
	now,
	changed(signed = false) {
		due.orders = due.alarms = due.maintenance = due.details = 0;
		if (signed) operating();
		ask();
	},
});

// Shows or hides what a token is needed for.
function operating() {
	const may = token() !== "";
	for (const id of ["emergency", "pause", "set-limit"]) show($(id), may && fleet !== null);
	show($("sign-in"), true);
	text($("sign-in"), may ? `Sign out ${person()}` : "Sign in");
	if (!may) {
		orders = delivered = null;
		renderOrders(null, null, now(), orderActs);
	}
	if (alarms) showAlarms();
	if (refusal) stream.again();
	plan();
}

// ---- Colours ----

const dark = matchMedia("(prefers-color-scheme: dark)");
let { chosen } = document.documentElement.dataset;

function theme(next) {
	chosen = next;
	document.documentElement.dataset.theme = next === "auto" ? (dark.matches ? "dark" : "light") : next;
	try {
		localStorage.setItem("ballast-theme", next);
	} catch {
		// It holds until the page is left.
	}
	text($("theme"), capital(next));
	attribute($("theme"), "aria-label", `Colours: ${next === "auto" ? "as the system has them" : next}. Press to change`);
	miners.recolour();
	chart.draw();
}

// ---- The beginning ----

async function refreshAll() {
	due.orders = due.alarms = due.maintenance = 0;
	forgetRefusals();
	await readOffers();
	operating();
	await loadHistory();
	await ask();
}

why.build();
miners.build((name) => maintenanceActs("miner", name));
$("theme").addEventListener("click", () => theme({ auto: "light", light: "dark" }[chosen] ?? "auto"));
dark.addEventListener("change", () => theme(chosen));
$("chart-range").addEventListener("click", (event) => {
	const minutes = Number(event.target.dataset?.minutes);
	if (!minutes) return;
	for (const button of $("chart-range").children) attribute(button, "aria-pressed", String(button === event.target));
	chart.setMinutes(minutes);
});
$("chart-table").addEventListener("toggle", () => chart.draw());
$("sign-in").addEventListener("click", () => (token() ? moves.signOut() : moves.signIn()));
$("banner-action").addEventListener("click", moves.signIn);
$("set-limit").addEventListener("click", () => moves.setLimit());
$("pause").addEventListener("click", moves.pause);
$("emergency").addEventListener("click", moves.emergency);
const stream = follow({
	event: take,
	open() {
		open = true;
		refusal = 0;
	},
	lost(status) {
		if (open) lostSince = performance.now();
		open = false;
		refusal = status;
		freshness();
	},
}, () => fleet?.generation ?? "");
let away = 0;
document.addEventListener("visibilitychange", () => {
	clearTimeout(away);
	if (document.hidden) away = setTimeout(stream.stop, 30_000);
	else {
		stream.resume();
		plan();
		tick();
	}
});
addEventListener("pagehide", stream.stop);
addEventListener("pageshow", stream.resume);
theme(chosen);
operating();
tick();
setInterval(tick, 1000);
