// Meters, sources of orders, and the orders themselves.

import { $, attribute, el, icon, keyed, setIcon, show, text } from "./dom.js";
import { capital, clock, exact, known, many, millis, moment, percent, power, span } from "./format.js";
import { readWords } from "./why.js";

// A line of a list: an icon, a head with a figure at its end, and words under it.
function line() {
	const parts = { icon: el("span", "holder"), head: el("bdi", "row-head"), end: el("span", "row-end"), under: el("span", "row-under"), acts: el("span", "row-acts") };
	const node = el("li", "row", parts.icon, el("div", "row-body", el("div", "row-top", parts.head, parts.end), parts.under, parts.acts));
	node.parts = parts;
	return node;
}

function fill(node, level, head, end, under) {
	const { parts } = node;
	setIcon(parts.icon, level);
	attribute(node, "data-level", level);
	text(parts.head, head);
	text(parts.end, end);
	text(parts.under, under);
	show(parts.under, under !== "");
}

export function renderMeters(meters) {
	show($("meters"), meters.length > 0);
	const lost = meters.filter((meter) => meter.up === false).length;
	text($("meters-sum"), lost ? `${lost} of ${meters.length} lost` : `${meters.length} read`);
	// The lost ones first; a long list of good ones is for the one who scrolls.
	const sorted = meters.map((meter, at) => ({ meter, at })).sort((a, b) => Number(a.meter.up === true) - Number(b.meter.up === true) || a.at - b.at);
	keyed($("meter-list"), sorted, ({ meter }) => meter.name, line, (node, { meter }) => {
		const level = meter.up === false ? "critical" : meter.up === null ? "wait" : meter.disagreement ? "warning" : "good";
		const words = [];
		if (meter.up !== true || meter.status !== "ok") words.push(readWords(meter.status));
		words.push(known(meter.age_seconds) ? `${span(meter.age_seconds)} old` : "no value yet");
		if (meter.in_use) words.push(`from ${meter.in_use}`);
		if (meter.disagreement) words.push("its parts disagree: the worse value counts");
		if (known(meter.asked_seconds)) words.push(`the same value for ${span(meter.asked_seconds)}: the miners are put lower to see whether it lives`);
		const { readings = {} } = meter;
		if (known(readings.frequency)) words.push(`${readings.frequency.toFixed(2)} Hz`);
		if (known(readings.state_of_charge)) words.push(`charged ${Math.round(readings.state_of_charge)} %`);
		fill(node, level, meter.name, meter.contact ?? power(meter.power_watts), words.join(" · "));
	});
}

const SOURCES = {
	init: ["wait", "not heard since the start: its fail-safe value holds"], controlled: ["good", "heard, no order"], limited: ["held", "heard, an order holds"],
	degraded: ["warning", "heard, in doubt"], failsafe: ["critical", "lost: fail-safe value holds"], released: ["critical", "lost: release value holds"],
};

export function renderSources(signals) {
	const list = (signals?.sources ?? []).filter((source) => source.name !== "operator" || source.caps.length || signals.sources.length > 1);
	show($("sources"), list.length > 0);
	keyed($("source-list"), list, (source) => source.name, line, (node, source) => {
		const [level, state] = SOURCES[source.state] ?? ["wait", source.state ?? "not asked yet"];
		// The operator's hand is always there: that it was "heard" says nothing, and of one who was never heard it is wrong.
		const others = source.name !== "operator";
		const words = [others && known(source.age_seconds) ? state : state.replace("heard, ", "")];
		if (others) words.push(known(source.age_seconds) ? `heard ${span(source.age_seconds)} ago` : "never heard");
		for (const cap of source.caps) {
			words.push(`${cap.caps === "miners" ? "miners" : "import"} of ${cap.circuit}${cap.order ? ` by ${cap.order}` : ""}${cap.why === "order" ? "" : ` (${cap.why})`}`);
		}
		if (known(source.met_after_seconds) && source.caps.length) words.push(`met after ${span(source.met_after_seconds)}`);
		if (source.shortfall_watts > 0) words.push(`${power(source.shortfall_watts)} above its cap`);
		for (const trouble of source.trouble ?? []) words.push(trouble);
		if (source.lifted_by) words.push(`lifted by ${source.lifted_by}`);
		const caps = source.caps.map((cap) => cap.cap_watts).filter(known);
		fill(node, source.lifted_by ? "warning" : level, source.name, caps.length ? power(Math.min(...caps)) : "no cap", words.join(" · "));
	});
}

const PHASES = { ahead: ["wait", "to come"], acting: ["held", "acts"], returning: ["wait", "ends, power returns"], over: ["good", "over"] };
const keyOf = (order) => `${order.source}\n${order.id}`;
const given = (by, note) => [by && `by ${by}`, note].filter(Boolean);
const scopeWords = (order) => `${order.scope === "miners" ? "miners" : "import"} of ${order.circuit}`;

// The orders that stand, and what became of the earlier ones. `answer` is what the daemon gave, or why it did not.
export function renderOrders(answer, delivered, now, acts) {
	const orders = answer?.data?.limits ?? [];
	const records = delivered?.data?.orders ?? [];
	const record = new Map(records.map((one) => [keyOf(one), one]));
	let words = "";
	if (!answer) words = "Orders are shown with a token.";
	else if (!answer.ok) words = `${capital(answer.title)}: ${answer.detail}`;
	else if (!orders.length) words = "No order stands or is to come.";
	show($("orders-words"), words !== "");
	text($("orders-words"), words);
	keyed($("order-list"), orders, keyOf, line, (node, order) => {
		const [level, phase] = PHASES[order.phase] ?? ["notice", order.phase];
		const [from, until] = [millis(order.valid_from), millis(order.valid_until)];
		const under = [`${phase} · ${scopeWords(order)}`];
		if (order.phase === "ahead" && from !== null) under.push(`begins ${moment(from, now)}, in ${span((from - now) / 1000)}`);
		if (until !== null) under.push(`until ${moment(until, now)}${order.phase === "ahead" ? "" : until > now ? `, ${span((until - now) / 1000)} to go` : order.margin_seconds > 0 ? "" : ", ending"}${order.margin_seconds > 0 ? `, and up to ${Math.ceil(order.margin_seconds / 60)} min longer because ${order.margin_reason}` : ""}`);
		else under.push("until it is cleared");
		const proof = record.get(keyOf(order));
		if (proof && order.phase === "acting") {
			const [applied, met] = [millis(proof.applied_at), millis(proof.met_at)];
			if (met !== null && applied !== null) under.push(`met after ${span((met - applied) / 1000)}`);
			else if (applied !== null) under.push("not seen to be met yet");
			// Of the first seconds these are means of what the miners have not said yet.
			const young = met === null && applied !== null && now - applied < 20_000;
			if (!young && known(proof.delivered_ratio)) under.push(`delivered ${percent(proof.delivered_ratio)}`);
			if (!young && proof.shortfall_watts > 0) under.push(`${power(proof.shortfall_watts)} short`);
		}
		if (order.urgency === "emergency") under.push("emergency");
		under.push(...given(order.by, order.note));
		if (order.stored === false) under.push("not on disk: a restart forgets it");
		fill(node, order.urgency === "emergency" && order.phase === "acting" ? "critical" : level, order.id, exact(order.cap_watts), `${order.source}: ${under.join(" · ")}`);
		acts(node.parts.acts, order);
	});
	const standing = new Set(orders.map(keyOf));
	const old = records.filter((one) => !standing.has(keyOf(one))).slice(-50).reverse();
	show($("orders-old"), old.length > 0);
	text($("orders-old-title"), `What became of ${many(old.length, "earlier order")}`);
	keyed($("order-old-list"), old, (one) => `${keyOf(one)}\n${one.revision}`, line, (node, one) => {
		const under = [`${one.source}: ${scopeWords(one)}`, one.stage];
		const [from, end] = [millis(one.valid_from), millis(one.ended_at)];
		if (from !== null) under.push(`${moment(from, now)}${end === null ? "" : `–${clock(end)}`}`);
		if (one.reason) under.push(one.reason);
		if (known(one.mean_watts)) under.push(`mean ${power(one.mean_watts)}`);
		if (known(one.delivered_ratio)) under.push(`delivered ${percent(one.delivered_ratio)}`);
		under.push(...given(one.by, one.remark));
		if (one.note) under.push(one.note);
		const bad = one.stage === "refused" || one.shortfall_watts > 0;
		fill(node, bad ? "warning" : "good", one.id, exact(one.cap_watts), under.join(" · "));
	});
}

// `calm`: whether nothing that is shown is critical. Before an alarm is raised something must last.
export function renderAlarms(alarms, now, acts, calm = true) {
	const raised = alarms.filter((alarm) => alarm.cleared === null);
	const old = alarms.filter((alarm) => alarm.cleared !== null).slice(0, 50);
	const open = raised.filter((alarm) => !alarm.acknowledged).length;
	text($("alarms-sum"), raised.length ? `${raised.length} raised, ${open ? `${open} not acknowledged` : "all acknowledged"}` : "none raised");
	const words = (alarm) => {
		const under = [alarm.severity, alarm.subject, `since ${moment(alarm.raised, now)}, ${span((now - alarm.raised) / 1000)}`];
		if (alarm.cleared !== null) under[2] = `${moment(alarm.raised, now)}–${moment(alarm.cleared, now)}`;
		if (alarm.acknowledged) under.push(`acknowledged by ${alarm.acknowledged.by}${alarm.acknowledged.note ? `: ${alarm.acknowledged.note}` : ""}`);
		if (known(alarm.quiet_until) && alarm.quiet_until > now) under.push(`quiet until ${moment(alarm.quiet_until, now)}`);
		return under.join(" · ");
	};
	const update = (node, alarm) => {
		fill(node, alarm.cleared === null ? (["critical", "warning", "notice"].includes(alarm.severity) ? alarm.severity : "notice") : "good", alarm.words, "", words(alarm));
		node.classList.toggle("done", Boolean(alarm.acknowledged) || alarm.cleared !== null);
		acts(node.parts.acts, alarm);
	};
	if (raised.length) keyed($("alarm-list"), raised, (alarm) => alarm.id, line, update);
	else keyed($("alarm-list"), [calm], (one) => `none${one}`, () => el("li", "empty", icon(calm ? "good" : "wait"), ` No alarm is raised${calm ? "." : " yet: what goes wrong has to last for a moment."}`));
	show($("alarms-old"), old.length > 0);
	text($("alarms-old-title"), `${many(old.length, "alarm")} cleared`);
	keyed($("alarm-old-list"), old, (alarm) => alarm.id, line, update);
}

// Puts buttons into a place, made once for each set of names.
export function buttons(place, list) {
	place.acts = list;
	const name = list.map(([words, label]) => `${words}${label}`).join("\n");
	if (place.dataset.made === name) return;
	place.dataset.made = name;
	place.replaceChildren(...list.map(([words, label], at) => el("button", { class: "small", "aria-label": label, onclick: () => place.acts[at][2]() }, words)));
}
