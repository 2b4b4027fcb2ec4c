// Why the fleet stands where it stands: one sentence, what is worth knowing beside it, and the key figures.

import { $, attribute, el, icon, keyed, setIcon, show, text } from "./dom.js";
import { UNKNOWN, capital, hashrateParts, known, many, percent, power, powerParts, span } from "./format.js";

// Seconds of surplus left unused before that is more than a ramp on its way.
const LONG = 180;
const MODES = {
	"start-up": ["Starting up", "wait"],
	following: ["Following the surplus", "good"],
	limited: ["Limited", "held"],
	"fail-safe": ["Fail-safe", "critical"],
	observe: ["Observing only", "watch"],
	"stand-by": ["Standing by", "watch"],
};
const does = (count, what) => `${many(count, "miner")} ${count === 1 ? "does" : "do"} ${what}`;
const are = (count, what) => `${many(count, "miner")} ${count === 1 ? "is" : "are"} ${what}`;
const silentOf = (counts) => counts.unreachable ?? 0;
const totalOf = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);
// How an emergency stop stands, and whether its miners are stopped for that.
export const STOPS = {
	ready: { level: "good", words: "is ready" }, unread: { level: "critical", words: "has not been read yet" }, open: { level: "critical", words: "is open", stops: true },
	unknown: { level: "critical", words: "cannot be read", stops: true }, latched: { level: "critical", words: "waits to be released", stops: true },
};
const stopWords = ({ name, emergency_stop: stop }) => `Emergency stop of ${name} ${STOPS[stop].words}`;
const stopsOf = (cycle) => (cycle?.circuits ?? []).filter((circuit) => STOPS[circuit.emergency_stop]?.stops);
export const modeWords = (mode) => MODES[mode]?.[0] ?? capital(mode ?? UNKNOWN);

// How a latest read ended, in words.
const READS = {
	ok: "is good", pending: "has not been read yet", unreachable: "does not answer", malformed: "answers what cannot be read", exception: "refuses to answer", unavailable: "has no value",
	implausible: "tells what cannot be", frozen: "stands still and is not believed", turned: "moves the wrong way and is not believed",
};
export const readWords = (status) => READS[status] ?? status;

const unreached = (counts) => counts.unreachable > 0 && counts.unreachable + (counts.pending ?? 0) === totalOf(counts);
// The part of the site on which what binds acts; nothing where all miners hang on it.
const partOf = ({ binding, circuits = [] }, roster) => circuits.find(({ name }, at) => name === binding.circuit && roster?.capacity[at] !== roster?.capacity[0]);
export function sentence(status, counts = {}, roster = null) {
	const { mode, cycle } = status;
	if (!cycle) return "Starting up: no control cycle has completed yet, and nothing is commanded.";
	const { fleet } = cycle;
	if (mode === "start-up") return `Starting up: meters and miners are being read before any miner is raised. The fleet draws ${power(fleet.power_watts)}.`;
	const say = held(cycle, counts, roster, mode === "following" || mode === "limited");
	if (mode === "observe") return `Only observing, nothing is commanded. In control it would be ${modeWords(status.would_be).toLowerCase()}: ${say}.`;
	if (mode === "stand-by") return `Standing by: another machine leads, and this one commands nothing. ${capital(say)}.`;
	// One of a part of the site binds nothing at the top.
	let first = /emergency/.test(cycle.binding.words) ? "" : stopsOf(cycle).map((circuit) => `${stopWords(circuit)}. `).join("");
	if (unreached(counts)) {
		first += "No miner can be reached";
		if (mode === "following") return `${first}${known(fleet.surplus_watts) ? `; ${power(fleet.surplus_watts)} are left over` : ""}.`;
		first += ". ";
	}
	return `${first}${mode === "fail-safe" ? `Fail-safe: ${say}` : capital(say)}${gives(cycle)}${but(cycle, counts)}.`;
}

// More is drawn in a part of the site than may be, in words.
function overBudget({ fleet: { over_budget: over }, circuits = [] }) {
	return over ? `${over.at_most ? "up to " : ""}${power(over.watts)} over ${over.circuit === circuits[0]?.name ? "budget" : `the budget of ${over.circuit}`}` : "";
}

// What orders hold a part of the site, beside what binds the whole.
function parts({ binding, circuits }) {
	const held = circuits.filter(({ name, cap, miners_watts: draw, budget_watts: may }) => cap?.circuit === name && name !== binding.circuit && /\bheld at\b/.test(cap.words) && draw >= Math.max(1, may * 0.9));
	return held.length ? `; ${held[0].cap.words}${held.length > 1 ? `, and ${held.length - 1} more` : ""}` : "";
}

// What each class draws; nothing where there are no servers.
export const drawn = (classes = []) => (classes.some((one) => one.class !== "miner") ? classes.map((one) => `${one.class} ${power(one.power_watts)}${one.paused ? ` (${one.paused} paused)` : ""}`).join(", ") : "");

// Which class gives where something holds the fleet back, and which cannot any more.
function gives({ classes, binding }) {
	if (!drawn(classes) || binding.source === "fleet-maximum") return "";
	const next = classes.findIndex((one) => one.sheddable_watts >= 1);
	if (next < 0) return "; no class can give more";
	const name = (one) => (one.class === "miner" ? "miners" : one.class);
	const spent = classes.slice(0, next).map(name).join(" and ");
	const one = classes[next];
	return `; ${spent ? `${spent} can give no more, ` : ""}${name(one)} ${one.class === "miner" ? "give" : "gives"} ${spent ? "next" : "first"}, up to ${power(one.sheddable_watts)}`;
}

// What goes wrong beside what binds: more is drawn than may be, or less than could be.
function but(cycle, counts) {
	const { fleet, binding } = cycle;
	const over = overBudget(cycle);
	if (over) {
		// What was told to go counts as gone already.
		const at = cycle.circuits?.find(({ name }) => name === fleet.over_budget.circuit);
		const falls = at?.miners_watts - at?.budget_watts > fleet.over_budget.watts * 1.2 ? " once all have followed" : "";
		const silent = silentOf(counts);
		const why = silent ? does(silent, "not answer") : counts.unanswered ? does(counts.unanswered, "not answer an order") : counts.straggler ? does(counts.straggler, "not do what was told") : "";
		return `, ${over}${falls}${why && `: ${why}`}`;
	}
	const { starting = 0 } = counts;
	// Where no limit binds it was said what the next one waits for.
	const waits = fleet.waiting && binding.source !== "fleet-maximum" && fleet.left_watts > fleet.budget_watts / 5;
	if (starting > totalOf(counts) / 20) return `; ${are(starting, "starting")}${waits ? `, and the next ${fleet.waiting.words}` : ""}`;
	if (!fleet.left_why || fleet.left_for_seconds < LONG) return "";
	return `; ${power(fleet.left_watts)} stay unused${fleet.waiting ? `: the next miner ${fleet.waiting.words}` : ""}`;
}

// What binds, and what comes of it. Beside a limit of a part of the site stand the figures of that part.
function held(cycle, counts, roster, follows) {
	const { fleet, binding, classes, circuits = [] } = cycle;
	const part = partOf(cycle, roster);
	const draw = power(part?.miners_watts ?? fleet.power_watts);
	const surplus = fleet.surplus_watts;
	const spared = known(surplus) && surplus > fleet.power_watts;
	if (binding.source === "fleet-maximum") {
		if (counts.starting && !counts.asleep) return `no limit holds the fleet back: ${are(counts.starting, "starting")}, and the fleet draws ${draw}`;
		if (counts.asleep) return `no limit holds the fleet back: ${are(counts.asleep, "asleep")}, and the fleet draws ${draw}${fleet.waiting ? `; the next ${fleet.waiting.words}` : ""}`;
		const left = spared ? `; ${power(surplus - fleet.power_watts)} of the surplus are left for others` : "";
		return `nothing holds the fleet back: all miners that run are at their most and draw ${draw}${left}`;
	}
	if (binding.class === "surplus" && !part) {
		return `${follows ? "the fleet follows the surplus: " : ""}${power(surplus)} are left over, and ${drawn(classes) ? "miners and servers" : "the miners"} draw ${draw}${parts(cycle)}`;
	}
	const words = /\b(held|holds?|is|are|does|lost|cannot|has)\b/.test(binding.words) ? binding.words : part && binding.class === "surplus" ? `${part.name} ${binding.words}` : `held back by the ${binding.words}`;
	const at = part ?? circuits.find(({ name }) => name === binding.circuit);
	const spare = part ? `. The whole fleet draws ${power(fleet.power_watts)}${spared ? ` of a surplus of ${power(surplus)}` : ""}` : known(surplus) && surplus > fleet.budget_watts * 1.02 ? `, of a surplus of ${power(surplus)}` : "";
	const whose = part ? "the miners there" : "the miners";
	const figure = at?.rests ? `all are asleep and draw ${draw} so`
		: words.includes("held at") ? `${words.startsWith("the miners") ? "they" : whose} draw ${draw}` : `${whose} may draw ${power(part?.budget_watts ?? fleet.budget_watts)} and draw ${draw}`;
	// A cap is not what the miners may draw where others draw of it, or something of it is kept free.
	const cap = at?.limits?.find(({ source, acts }) => acts && source === binding.source)?.cap_watts;
	const less = at?.budget_watts < cap * 0.98 ? `; ${power(cap - at.budget_watts)} of that go to others or are kept free` : "";
	return `${words}; ${figure}${less}${spare}`;
}

const ORDER = { critical: 0, warning: 1, notice: 2, good: 3 };

// What somebody should know at once, the worst first: `{ level, words, to }`.
export function notes(status, counts, works) {
	const all = [];
	const add = (level, words, to) => all.push({ level, words, to });
	const { cycle, signals } = status;
	if (cycle) {
		const { fleet } = cycle;
		for (const circuit of stopsOf(cycle)) add("critical", stopWords(circuit), "#circuits");
		for (const meter of cycle.meters) {
			if (meter.up === false) add("critical", `Meter ${meter.name} ${meter.status === "ok" ? "answers, and has no new value" : readWords(meter.status)}${known(meter.age_seconds) ? `, last value ${span(meter.age_seconds)} ago` : ""}`, "#meters");
			else if (meter.disagreement) add("warning", `Parts of meter ${meter.name} disagree`, "#meters");
		}
		for (const circuit of cycle.circuits) {
			if (circuit.breaker && circuit.breaker !== "closed") add("critical", `Breaker of ${circuit.name}: ${circuit.breaker}`, "#circuits");
			if (interlockOf(circuit) === false) add("critical", `Interlock of ${circuit.name} does not hold${lockWords(circuit)}`, "#circuits");
		}
		// Behind what may be its cause.
		const over = overBudget(cycle);
		if (over) add("critical", capital(over), "#circuits");
		const silent = silentOf(counts);
		if (silent) add(silent > totalOf(counts) / 10 ? "critical" : "warning", `${does(silent, "not answer")} and count against the limits at the most that they may draw`, "#miners");
		if (cycle.late_miners) add("warning", `${does(cycle.late_miners, "not answer")} for now, and count as before until they are silent for long enough`, "#miners");
		if (counts.unanswered) add("warning", `${does(counts.unanswered, "not answer an order")} and count at the worst of before and after`, "#miners");
		if (counts.straggler) add("warning", does(counts.straggler, "not do what was told"), "#miners");
		if (counts.fault) add("warning", `${many(counts.fault, "miner")} with a fault`, "#miners");
		// What lasts for a moment would only make the page jump.
		if (!over && fleet.left_why && fleet.left_for_seconds >= 10) add(fleet.left_for_seconds < LONG ? "notice" : "warning", `${power(fleet.left_watts)} unused for ${span(fleet.left_for_seconds)}: ${fleet.left_why}`, "#miners");
		else if (fleet.waiting) add("notice", `${fleet.waiting.miner} ${fleet.waiting.words}`, "#miners");
	}
	for (const words of worksOf(works)) add("notice", words, "#miners");
	for (const source of signals?.sources ?? []) {
		if (source.state === "failsafe" || source.state === "released") add("critical", `Signal ${source.name} is lost: its ${source.state === "released" ? "release value" : "fail-safe value"} holds`, "#sources");
		// What the clock does to every source is said once, below.
		else if (source.state === "degraded" && (signals.clock_synchronised || source.trouble?.length > 1)) add("warning", `Signal ${source.name} is in doubt`, "#sources");
		if (source.lifted_by) add("warning", `Caps of ${source.name} are lifted by ${source.lifted_by}`, "#sources");
	}
	if (signals?.store_errors > 0) add("warning", "The database has failed: some orders may not survive a restart", null);
	if (signals && !signals.clock_synchronised) add("warning", "The clock is in doubt: orders begin early and end late", null);
	all.sort((a, b) => ORDER[a.level] - ORDER[b.level]);
	return all;
}

// `true`, `false`, or `null` where a circuit has no interlock.
export const interlockOf = (circuit) => circuit.interlock ?? null;

// What its meter says of an interlock that does not hold, to stand behind that.
export function lockWords({ interlock_meter: lock }) {
	if (!lock) return "";
	return `: ${lock.meter} ${known(lock.power_watts) ? `reads ${power(lock.power_watts)}` : "has no fresh value"}, ${power(lock.at_least_watts)} are needed`;
}

// What is worked on, for each who does: `In maintenance by A. Khan: m30s-001, hall-a (40 miners)`.
function worksOf(works) {
	const all = new Map();
	for (const work of works ?? []) all.set(work.by, [...(all.get(work.by) ?? []), work]);
	// Each with its own count and no sum: a miner may be held by name and with its circuit, too.
	const named = ({ name, kind, miners }) => kind === "circuit" ? `${name} (${many(miners, "miner")})` : name;
	return [...all].map(([by, list]) => `In maintenance by ${by}: ${list.slice(0, 3).map(named).join(", ")}${list.length > 3 ? ` and ${list.length - 3} more` : ""}`);
}

const FIGURES = { surplus: "Surplus", draw: "Fleet draw", grid: "Grid", budget: "Budget", left: "Left unused", hashrate: "Hashrate" };
const figures = new Map();

export function build() {
	for (const [key, title] of Object.entries(FIGURES)) {
		const number = el("span", "number", UNKNOWN);
		const unit = el("span", "unit");
		const under = el("span", "under");
		const fill = key === "draw" ? el("span", "meter-fill") : null;
		const value = el("dd", {}, el("span", "big", number, " ", unit), fill ? el("span", { class: "meter", "aria-hidden": "true" }, fill) : null, under);
		figures.set(key, { number, unit, under, fill, value });
		$("figures").append(el("div", `figure ${key}`, el("dt", {}, title), value));
	}
}

function set(key, [number, unit], under, level = null) {
	const figure = figures.get(key);
	text(figure.number, number);
	text(figure.unit, unit);
	text(figure.under, under);
	attribute(figure.under, "title", under.length > 60 ? under : null);
	attribute(figure.value, "data-level", level);
	attribute(figure.number, "data-unknown", number === UNKNOWN ? "" : null);
}

// Whether what is shown is critical: an alarm of it may still have to wait.
export let critical = false;

// Shows a status. `alarms`: how many are raised, by severity.
export function render(status, counts, works, roster, alarms) {
	const stops = ["observe", "stand-by"].includes(status.mode) ? [] : stopsOf(status.cycle);
	// A stop of the root is one of the whole site.
	const stopped = stops.length ? [stops[0] === status.cycle.circuits[0] ? "Stopped in an emergency" : "Partly stopped in an emergency", "critical"] : null;
	const [words, sign] = stopped ?? (/^(fol|lim)/.test(status.mode) && unreached(counts) ? ["No miner reached", "critical"] : MODES[status.mode]) ?? [capital(status.mode), "notice"];
	attribute($("mode"), "data-mode", stopped ? "emergency" : status.mode);
	text($("mode-words"), words);
	setIcon($("mode-icon"), sign);
	text($("site"), status.site);
	const title = `${words} – ${status.site} – Ballast`;
	if (document.title !== title) document.title = title;
	text($("sentence"), sentence(status, counts, roster));
	const list = notes(status, counts, works);
	critical = sign === "critical" || list[0]?.level === "critical";
	if (!list.length && status.cycle && !critical && !alarms?.critical) list.push({ level: "good", words: "Nothing else needs attention", to: null });
	// Beyond a dozen the worst are shown and the rest is counted.
	if (list.length > 12) {
		const rest = list.length - 11;
		list.length = 11;
		list.push({ level: "warning", words: `and ${rest} more`, to: "#meters" });
	}
	keyed($("notes"), list.map((note, at) => ({ ...note, at })), ({ at, level, to }) => `${at}${level}${to}`,
		({ level, to }) => el("li", `note ${level}`, icon(level), to ? el("a", { href: to }) : el("span")),
		(node, note) => text(node.lastChild, note.words));

	const { cycle } = status;
	show($("figures"), Boolean(cycle));
	if (!cycle) return;
	const { fleet, binding, energy } = cycle;
	const surplus = fleet.surplus_watts;
	const root = cycle.circuits[0];
	// Between the first read that fails and a lost meter its last value counts.
	const meter = cycle.meters.find(({ name }) => name === root?.meter);
	const last = meter?.up === false ? `last value of ${meter.name}, ${span(meter.age_seconds)} old` : "";
	const used = energy.surplus_joules > 0 ? `${percent(Math.min(1, energy.captured_joules / energy.surplus_joules))} of it used since the start` : "before the miners take any";
	set("surplus", powerParts(surplus), known(surplus) ? last || used : known(root?.power_watts) ? "nothing here follows it" : "without its meter nobody knows");
	const over = overBudget(cycle);
	set("draw", powerParts(fleet.power_watts), over || (root?.rests ? "all are asleep" : drawn(cycle.classes) || `target ${power(fleet.target_watts)}`), over ? "critical" : null);
	const share = Math.min(1, fleet.power_watts / fleet.budget_watts) || 0;
	figures.get("draw").fill.style.width = `${(share * 100).toFixed(1)}%`;
	const grid = root?.power_watts;
	if (known(grid)) set("grid", powerParts(Math.abs(grid)), `${Math.abs(grid) < 0.5 ? "neither way" : grid > 0 ? "import" : "export"}${last ? `, ${last}` : ` at ${root.name}`}`, last ? "unknown" : null);
	else set("grid", [UNKNOWN, ""], `no fresh value at ${root?.name ?? "the root"}`, "unknown");
	const part = partOf(cycle, roster);
	set("budget", powerParts(fleet.budget_watts), part ? `at most ${power(part.budget_watts)} of it at ${part.name}` : binding.words);
	if (fleet.left_why) set("left", powerParts(fleet.left_watts), fleet.left_why, fleet.left_for_seconds < LONG ? null : "warning");
	else set("left", powerParts(fleet.left_watts), fleet.left_watts >= 1 ? "not for long enough to say why" : over ? "more is drawn than may be" : root?.rests ? "all are asleep" : fleet.power_watts > fleet.budget_watts * 1.02 ? "the fleet goes down" : counts.starting ? "kept for those that start" : last ? "by its last value" : "all that may be drawn is drawn");
	const hashing = counts.hashing ?? 0;
	set("hashrate", hashrateParts(fleet.hashrate_hashes_per_second), `${hashing.toLocaleString("en")} of ${totalOf(counts).toLocaleString("en")} ${drawn(cycle.classes) ? "run" : "hash"}`);
}
