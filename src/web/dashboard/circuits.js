// The tree of circuits: what the miners draw against what they may, the cap that counts, and what stands open.

import { $, attribute, el, icon, keyed, show, text } from "./dom.js";
import { capital, known, moment, power } from "./format.js";
import { STOPS, drawn, interlockOf, lockWords } from "./why.js";

const closed = new Set();
let first = true;
let acts = () => {};

// `make(place, name, latched)` puts what somebody with a token may do with a circuit into a place; `latched`: its emergency stop waits
// to be released.
export function setActs(make) {
	acts = make;
}

// Another roster: what was folded is for circuits that may be gone.
export function forget() {
	first = true;
}

function make(item) {
	const { entry } = item;
	const toggle = el("button", { class: "twist", onclick: () => {
		if (!closed.delete(item.name)) closed.add(item.name);
		item.again();
	} }, "▾");
	const name = el("bdi", "name");
	const cells = {
		toggle, name,
		draw: el("td", "number"), may: el("td", "number"), meter: el("td", "number"),
		fill: el("span", "fill"), limit: el("span", "limit"), held: el("span", "held-back"),
		words: el("span", "cap-words"), until: el("span", "cap-until"), flags: el("span", "flags"), good: el("span", "flags"), acts: el("span", "row-acts"),
	};
	const bar = el("div", { class: "bar", role: "img" }, cells.held, cells.fill, cells.limit);
	cells.bar = bar;
	const row = el("tr", {},
		el("th", { scope: "row" }, el("div", "branch", toggle, name)), el("td", "bar-cell", bar),
		cells.draw, cells.may, cells.meter, el("td", "words-cell", el("div", {}, el("div", {}, cells.flags, " ", cells.words, " ", cells.until, " ", cells.good), cells.acts)));
	row.style.setProperty("--depth", Math.min(entry.depth, 6));
	row.parts = cells;
	return row;
}

function flag(level, words) {
	return el("span", `flag ${level}`, icon(level), words);
}

export function render(cycle, fleet, now) {
	const again = () => render(cycle, fleet, now);
	const many = fleet.order.length > 40;
	if (first && many) for (const { index, depth } of fleet.order) if (depth === 1 && fleet.parents.has(index)) closed.add(fleet.circuits[index].name);
	first = false;
	const items = [];
	let hide = -1;
	for (const entry of fleet.order) {
		if (hide >= 0 && entry.depth > hide) continue;
		hide = -1;
		const circuit = cycle.circuits[entry.index];
		if (!circuit) continue;
		const { name } = circuit;
		const parent = fleet.parents.has(entry.index);
		if (parent && closed.has(name)) hide = entry.depth;
		items.push({ entry, circuit, name, parent, again });
	}
	const root = cycle.circuits[fleet.order[0]?.index];
	keyed($("circuit-rows"), items, ({ name, entry }) => `${entry.index}:${name}`, make, (row, { circuit, entry, parent, name }) => {
		const cells = row.parts;
		const capacity = fleet.capacity[entry.index];
		const open = !closed.has(name);
		cells.toggle.classList.toggle("leaf", !parent);
		cells.toggle.disabled = !parent;
		attribute(cells.toggle, "aria-expanded", String(open));
		attribute(cells.toggle, "aria-label", `What hangs on ${name}`);
		text(cells.toggle, parent ? (open ? "▾" : "▸") : "");
		text(cells.name, name);
		attribute(cells.name, "title", name.length > 12 ? name : null);
		const full = Math.max(capacity, circuit.miners_watts, 1);
		const may = Math.min(circuit.budget_watts, full);
		const all = may >= full * 0.999;
		const at = (watts) => `${Math.max(0, Math.min(100, (watts / full) * 100)).toFixed(2)}%`;
		cells.fill.style.width = at(circuit.miners_watts);
		cells.limit.style.left = at(may);
		cells.held.style.left = at(may);
		show(cells.limit, !all);
		show(cells.held, !all);
		const short = circuit.over_watts;
		// What meters hum is no breach.
		const over = short >= Math.max(1, circuit.miners_watts / 500);
		cells.bar.classList.toggle("over", over);
		attribute(cells.bar, "aria-label", `draws ${power(circuit.miners_watts)}, may draw ${power(circuit.budget_watts)}, nameplate ${power(capacity)}${circuit.classes ? `; ${drawn(circuit.classes)}` : ""}`);
		text(cells.draw, power(circuit.miners_watts));
		attribute(cells.draw, "title", drawn(circuit.classes) || null);
		text(cells.may, all ? "all" : power(circuit.budget_watts));
		attribute(cells.may, "title", `budget ${power(circuit.budget_watts)}`);
		text(cells.meter, circuit.meter ? power(circuit.power_watts) : "–");
		const { cap } = circuit;
		const words = cap?.words || circuit.binding;
		const own = !cap || cap.circuit === name;
		const above = !own ? cap.circuit : circuit !== root && root?.cap?.words === words ? root.name : null;
		const free = all && own;
		text(cells.words, free ? "Nothing" : above ? `As ${above}` : capital(words ?? ""));
		attribute(cells.words, "title", free || above ? words : null);
		cells.words.classList.toggle("inherited", Boolean(above));
		const until = !above && !free && known(cap?.until) && !words.includes("until") ? `until ${moment(cap.until, now)}` : "";
		text(cells.until, until);
		const flags = [];
		if (over) flags.push(["critical", `${power(short)} short`]);
		if (circuit.breaker) flags.push([circuit.breaker === "closed" ? "good" : "critical", `breaker ${circuit.breaker}`]);
		const interlock = interlockOf(circuit);
		if (interlock !== null) flags.push([interlock ? "good" : "critical", interlock ? "interlock holds" : `interlock does not hold${cap?.source === `interlock:${name}` ? "" : lockWords(circuit)}`]);
		const stop = STOPS[circuit.emergency_stop];
		if (stop) flags.push([stop.level, `emergency stop ${stop.words}`]);
		for (const [place, level] of [[cells.flags, "critical"], [cells.good, "good"]]) keyed(place, flags.filter((one) => one[0] === level), ([level, word]) => `${level}${word.replace(/^[\d.,]+\s*\S+/, "")}`, ([level, word]) => flag(level, word), (node, [, word]) => text(node.lastChild, word));
		acts(cells.acts, name, circuit.emergency_stop === "latched");
	});
}

