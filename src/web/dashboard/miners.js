// The panel of the miners: search, filters, map and list, and the details of one.

import { get } from "./api.js";
import { $, attribute, el, icon, keyed, show, text } from "./dom.js";
import { UNKNOWN, hashrate, known, power } from "./format.js";
import { MinerList } from "./list.js";
import { MinerMap } from "./map.js";
import { circuitOptions } from "./moves.js";
import { KINDS, WORK, paintSign, sign, stateOf } from "./states.js";

const filter = { words: "", states: new Set(), circuit: -1, kind: "" };
let fleet = null;
let map = null;
let list = null;
let chips = [];
// The name of the miner whose details are open.
let shown = null;
let asked = null;
let back = null;
let acts = () => [];

export function build(actions) {
	acts = actions;
	map = new MinerMap($("miner-views"), open);
	list = new MinerList($("miner-views"), open);
	$("search").addEventListener("input", (event) => {
		filter.words = event.target.value;
		apply();
	});
	$("where").addEventListener("change", (event) => {
		filter.circuit = Number(event.target.value);
		apply();
		counts();
	});
	$("kind").addEventListener("change", (event) => {
		filter.kind = event.target.value;
		apply();
	});
	$("as-map").addEventListener("click", () => view(false));
	$("as-list").addEventListener("click", () => view(true));
	$("details-close").addEventListener("click", close);
	$("details").addEventListener("keydown", (event) => {
		if (event.key === "Escape") close();
	});
}

function view(asList) {
	attribute($("as-map"), "aria-pressed", String(!asList));
	attribute($("as-list"), "aria-pressed", String(asList));
	map.setShown(!asList);
	show($("map-help"), !asList);
	list.setVisible(asList);
}

export function setFleet(next) {
	const where = filter.circuit >= 0 ? fleet?.circuits[filter.circuit]?.name : null;
	fleet = next;
	filter.circuit = where === null ? -1 : fleet.circuits.findIndex((circuit) => circuit.name === where);
	$("where").replaceChildren(el("option", { value: "-1" }, "All circuits"),
		...circuitOptions(fleet, ({ index }) => index).map(([value, words]) => el("option", { value, selected: value === filter.circuit }, words)));
	const servers = Object.keys(fleet.kind).length > 0;
	show($("kind"), servers);
	show($("notches"), servers);
	if (!servers) filter.kind = "";
	$("kind").replaceChildren(...["", ...KINDS].map((kind) => el("option", { value: kind, selected: kind === filter.kind }, kind || "All classes")));
	filter.states = new Set([...filter.states].filter((name) => name === WORK || fleet.states.includes(name)));
	const order = fleet.states.map((name, index) => ({ name, index })).sort((a, b) => stateOf(b.name).rank - stateOf(a.name).rank);
	order.push({ name: WORK, index: -1 });
	chips = order.map(({ name, index }) => {
		const count = el("b", "value", "0");
		const button = el("button", { class: "state", "aria-pressed": String(filter.states.has(name)), onclick: () => {
			if (!filter.states.delete(name)) filter.states.add(name);
			attribute(button, "aria-pressed", String(filter.states.has(name)));
			apply();
		} }, sign(index < 0 ? `asleep ${WORK}` : name), el("span", {}, index < 0 ? `in ${WORK}` : stateOf(name).words), count);
		return { button, count, index };
	});
	$("state-filter").replaceChildren(...chips.map(({ button }) => button));
	map.setFleet(fleet);
	list.setFleet(fleet);
	apply();
}

const filtered = () => filter.words.trim() !== "" || filter.states.size > 0 || filter.circuit >= 0 || filter.kind !== "";

function apply() {
	if (!fleet) return;
	const { into, count } = fleet.matches(filter);
	map.setFilter(filtered() ? into : null);
	list.setFilter(filtered() ? into : null);
	text($("miners-sum"), filtered() ? `${count.toLocaleString("en")} of ${fleet.count.toLocaleString("en")} found` : `${fleet.count.toLocaleString("en")} in ${map.groups.length === 1 ? "one circuit" : `${map.groups.length} circuits`}`);
}

function counts() {
	const all = fleet.counts(filter.circuit);
	for (const { button, count, index } of chips) {
		const its = index < 0 ? fleet.works(filter.circuit) : all[index];
		text(count, its.toLocaleString("en"));
		button.classList.toggle("none", its === 0);
	}
}

// Shows what a frame has changed.
export function update() {
	if (!fleet) return;
	counts();
	// Who is in a state may have changed; who has a name has not.
	if (filter.states.size) apply();
	else map.update();
	list.update();
}

export function recolour() {
	map.recolour();
	list.recolour();
	for (const canvas of document.querySelectorAll("#state-filter .sign-of, #details .sign-of")) paintSign(canvas);
}

// ---- Details ----

export function open(index) {
	if (!fleet || !(index >= 0)) return;
	if (!shown) back = document.activeElement;
	shown = fleet.names[index];
	map.hold(index);
	$("details-body").replaceChildren(el("p", "empty", "Asking …"));
	text($("details-title"), shown);
	show($("details"), true);
	$("details").focus({ preventScroll: true });
	refresh();
}

function close() {
	shown = null;
	asked?.abort();
	show($("details"), false);
	map.hold(-1);
	back?.focus?.({ preventScroll: true });
}

// Asks anew; the page does so every few seconds while the details are open.
export async function refresh() {
	if (!shown || !fleet) return;
	const name = shown;
	asked?.abort();
	asked = new AbortController();
	const answer = await get(`miners/${encodeURIComponent(name)}`, { signal: asked.signal });
	if (answer.aborted || shown !== name) return;
	fillDetails(name, answer);
}

function fillDetails(name, answer) {
	const body = $("details-body");
	const index = fleet.names.indexOf(name);
	const miner = answer.data;
	if (!answer.ok || !miner) {
		body.replaceChildren(el("p", {}, icon("critical"), ` ${answer.title}. ${answer.detail}`));
		return;
	}
	if (!body.querySelector("dl")) {
		body.replaceChildren(el("p", "strong state-line"), el("ul", "explanation"), el("dl", "facts"), el("div", "actions"));
	}
	const [state, explanation, facts, buttons] = body.children;
	const words = stateOf(miner.state).words;
	if (state.dataset.state !== miner.state) {
		state.dataset.state = miner.state;
		state.replaceChildren(sign(miner.state), ` ${words}`);
	}
	const sentences = (miner.explanation ?? []).map((one, at) => ({ one, at }));
	if (miner.fault) sentences.unshift({ one: `Its own words: ${miner.fault}`, at: "fault" });
	keyed(explanation, sentences, ({ at }) => at, () => el("li"), (node, { one }) => text(node, one));
	const told = miner.setpoint === "sleep" ? "sleep" : miner.setpoint ? `settles at ${power(miner.setpoint_watts)}` : "nothing yet";
	const rows = [
		["Draws, by its own reading", power(miner.power_watts)], ["Draws, best estimate", power(miner.estimate_watts)], ["Counted, at the most", power(miner.counted_watts)],
		["Told", told], ["Hashrate", hashrate(miner.hashrate_hashes_per_second)], ["Nameplate", index >= 0 && known(fleet.nameplate[index]) ? power(fleet.nameplate[index]) : UNKNOWN],
		["Answers", miner.up === null || miner.up === undefined ? UNKNOWN : miner.up ? "yes" : "no"], ["Circuit", miner.circuit], ["Driver", miner.driver],
	];
	if (miner.class !== "miner") rows.push(["Class", miner.class + (miner.pause ? `, ${miner.pause}` : "")]);
	if (known(miner.contract_watts)) rows.push(["Keeps by contract", power(miner.contract_watts)]);
	keyed(facts, rows, ([key]) => key, ([key]) => el("div", {}, el("dt", {}, key), el("dd")), (node, [, value]) => text(node.lastChild, value));
	const list_ = acts(name);
	const made = list_.map(([label]) => label).join("\n");
	if (buttons.dataset.made !== made) {
		buttons.dataset.made = made;
		buttons.replaceChildren(...list_.map(([label, act]) => el("button", { onclick: act }, label)));
	}
}
