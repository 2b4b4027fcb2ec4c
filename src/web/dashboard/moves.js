// What somebody with a token may do. What moves power is shown before it happens, has an end or says that it has none,
// and bears a name.

import { get, notOffered, offers, request, setToken, token } from "./api.js";
import { DURATIONS, ask, field, input, problem, select, strong } from "./dialog.js";
import { announce, el, icon } from "./dom.js";
import { exact, known, many, moment, power, span } from "./format.js";

// What the page knows when something is asked: `{ fleet, maintenance, status, now(), changed(signed) }`; `maintenance` is `null` while
// nobody has told it.
let page = null;
export const use = (what) => { page = what; };
const changed = () => page.changed();
const tell = (words) => () => {
	announce(words);
	changed();
};

const path = encodeURIComponent;
// A name that is not too long.
function orderName(words) {
	const all = words.replace(/\p{Cc}/gu, " ");
	return new TextDecoder().decode(new TextEncoder().encode(all).slice(0, 240)).replace(/\ufffd+$/, "");
}

export function signIn() {
	const secret = input({ type: "password", maxlength: "512", pattern: "[!-~]{20,512}", title: "20 to 512 letters, digits and signs, without blanks" });
	ask("Sign in", {
		words: ["A token of scope “operator” lets you set limits and acknowledge alarms. It stays in this tab until that is closed, and never stands in an address.", field("Token", secret)],
		button: "Use this token",
		async act() {
			const before = token();
			setToken(secret.value.trim());
			const answer = await get("limits");
			if (!answer.ok) setToken(before);
			return answer;
		},
		after: () => page.changed(true),
	});
}

export function signOut() {
	ask("Sign out", {
		words: ["The token is forgotten. Limits that you have set stay."], button: "Forget the token", who: false,
		act() {
			setToken("");
			return { ok: true };
		},
		after: () => page.changed(true),
	});
}

// ---- The preview ----

// A place that shows what something would do as soon as the daemon has worked it out; `done` is a promise of that.
// `again` shows it anew, where `body` is a function whose result has changed.
function previewOf(body, at = "preview") {
	const place = el("div", { "aria-live": "polite" }, el("p", "empty", "Working out who moves …"));
	const fill = async () => {
		const answer = offers("post", "preview") ? await request("POST", at, typeof body === "function" ? body() : body, { seconds: 5 }) : { status: 404 };
		if (answer.status === 404 && at === "preview") notOffered(at);
		place.replaceChildren(el("div", "preview", ...preview(answer)));
	};
	return { place, done: fill(), again: fill };
}

function preview(answer) {
	const line = (level, words) => el("p", {}, icon(level), el("span", {}, words));
	if (answer.status === 404) return [line("notice", "This daemon cannot show beforehand who moves.")];
	if (!answer.ok) {
		const words = el("p");
		problem(words, { title: `no preview: ${answer.title}`, detail: answer.detail });
		return [words];
	}
	const { data } = answer;
	if (data.starting) return [line("wait", "Still starting: not all meters and miners have been read, so nobody knows yet who moves. Look again in a minute.")];
	const { moves } = data;
	const total = many(moves.total, "miner");
	const met = data.met_after_seconds;
	const kinds = { lowered: "lowered", put_to_sleep: "put to sleep", raised: "raised", woken: "woken" };
	const parts = [
		...(data.cap_watts === null ? [] : [data.short_watts >= 1 ? moves.total && moves.put_to_sleep === moves.total && !data.skipped?.length ? line("notice", `Asleep they draw ${power(data.short_watts)}.`) : line("critical", `It cannot be met: ${power(data.short_watts)} stay above the cap.`)
			: known(met) ? line("good", met < 0.5 ? "It is met already." : `It is met after about ${span(met)}.`) : line("warning", "When it is met is not known.")]),
		...(data.margin_seconds > 0 ? [line("warning", `It may hold up to ${Math.ceil(data.margin_seconds / 60)} min longer than it says, because ${data.margin_reason}.`)] : []),
		line("notice", `${data.circuit}: ${power(data.power_watts)} now, ${power(data.after_watts)} after ${span(data.looked_seconds)}.`),
		moves.total ? line("held", `${total} to move: ${Object.entries(kinds).filter(([key]) => moves[key]).map(([key, words]) => `${moves[key].toLocaleString("en")} ${words}`).join(", ")}.`) : line("good", "No miner moves."),
		...(Math.abs(data.elsewhere_watts) >= 1 ? [line("notice", `Miners of other circuits are set to draw ${power(Math.abs(data.elsewhere_watts))} ${data.elsewhere_watts > 0 ? "more" : "less"}.`)] : []),
		...(data.skipped ?? []).map((skip) => line("warning", `${many(skip.miners, "miner")} skipped (${skip.why}), ${power(skip.watts)}: ${skip.names.slice(0, 6).join(", ")}${skip.miners > 6 ? " …" : ""}`)),
	];
	if (!moves.miners.length) return parts;
	const cells = (tag, ...texts) => texts.map((one) => el(tag, { class: "number", scope: tag === "th" ? "col" : null }, one));
	const rows = moves.miners.map((miner) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, miner.name)),
		...cells("td", power(miner.from_watts), miner.sleeps ? "sleep" : power(miner.to_watts), span(miner.after_seconds))));
	return [...parts, el("details", {}, el("summary", {}, moves.miners.length < moves.total ? `The first ${moves.miners.length} of ${total}` : `Each of ${total}`),
		el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Miners that move" },
			el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Miner"), ...cells("th", "From", "To", "After"))), el("tbody", {}, ...rows))))];
}

// ---- Limits ----

async function put(body, id) {
	const answer = await request("PUT", `limits/${path(id)}`, body);
	if (answer.ok && answer.data?.stored === false) announce("The limit is not on disk: a restart would forget it.");
	return answer;
}

const on = (order) => `${order.scope === "miners" ? "the miners" : "the import"} of ${order.circuit}`;
// All circuits for a list, each as deep as it hangs.
export const circuitOptions = (fleet, value = ({ index }) => fleet.circuits[index].name) =>
	fleet.order.map((one) => [value(one), `${"\u2003".repeat(Math.min(one.depth, 6))}${fleet.circuits[one.index].name}`]);

export function setLimit(circuit) {
	const { fleet } = page;
	const where = select(circuitOptions(fleet), circuit);
	const scope = select([["miners", "What its miners draw"], ["import", "What flows in, other load included"]]);
	const cap = input({ inputmode: "decimal", maxlength: "12", pattern: "\\s*\\d+([.,]\\d+)?\\s*", title: "a number like 300 or 1.5", "data-first": "" });
	const unit = select([["1", "W"], ["1000", "kW"], ["1000000", "MW"]], fleet.capacity[fleet.order[0].index] >= 5e6 ? "1000000" : "1000");
	unit.setAttribute("aria-label", "Unit of the cap");
	const until = select([...DURATIONS, ["at", "until a time …"], ["open", "until somebody clears it"]], "3600");
	const time = el("input", { type: "time", hidden: true, "aria-label": "Until this time of day" });
	until.addEventListener("change", () => {
		time.hidden = until.value !== "at";
		time.required = !time.hidden;
	});
	const reason = input({ placeholder: "like: work on feeder 2" });
	const now = el("small", "now");
	const say = () => {
		const stands = page.status?.cycle?.circuits.find((one) => one.name === where.value);
		now.textContent = stands ? `Its miners draw ${power(stands.miners_watts)} and may draw ${power(stands.budget_watts)} now.` : "";
	};
	where.addEventListener("change", say);
	say();
	const sized = field("Cap", cap, null, unit);
	sized.classList.add("with-unit");
	ask("Set a limit", {
		words: [field("Circuit", where), now, field("Caps", scope), sized, field("For", until, null, time), field("Why", reason)],
		button: "Show what it does",
		act({ by }) {
			const body = { circuit: where.value, scope: scope.value, cap_watts: Number(cap.value.replace(",", ".")) * Number(unit.value) };
			let end = null;
			if (until.value === "at") {
				end = nextTime(time.value, page.now());
				body.valid_until = new Date(end).toISOString();
			} else if (until.value !== "open") {
				body.duration_seconds = Number(until.value);
				end = page.now() + body.duration_seconds * 1000;
			}
			really(body, end, reason.value.trim(), by);
			return { ok: true, goesOn: true };
		},
	});
}

function really(body, end, reason, by) {
	const words = `At most ${exact(body.cap_watts)} on ${on(body)}, ${end === null ? "until somebody clears it" : `until ${moment(end, page.now())}, for ${span((end - page.now()) / 1000)}`}.`;
	const { place, done } = previewOf(body);
	ask("Set this limit?", {
		words: [strong(words), `${reason} – ${by}`, place], button: "Set this limit", who: false, wait: done,
		act: () => put({ ...body, by }, orderName(`${reason}: ${on(body)}`)), after: tell(`Limit set. ${words}`),
	});
}

// The next moment at which the clock shows this time.
function nextTime(text, now) {
	const [hours, minutes] = text.split(":").map(Number);
	const at = new Date(now);
	at.setHours(hours, minutes, 0, 0);
	if (at.getTime() <= now) at.setDate(at.getDate() + 1);
	return at.getTime();
}

const stop = (more) => ({ circuit: page.fleet.circuits[page.fleet.order[0].index].name, scope: "miners", cap_watts: 0, ...more });

// Who is stopped, and who is not because somebody works there: `All miners`, but for some.
function spared() {
	if (page.maintenance === null) return ["The miners", ", but for those in hands-off maintenance: it is not known which miners are in maintenance"];
	const left = page.fleet.work.filter((one) => one === 2).length;
	return ["All miners", left ? `, but for ${many(left, "miner")} in hands-off maintenance: nothing is told to ${left === 1 ? "it" : "them"}` : ""];
}

export function pause() {
	const length = select(DURATIONS, "1800");
	length.dataset.first = "";
	const body = () => stop({ duration_seconds: Number(length.value) });
	const { place, done } = previewOf(body());
	const [whom, but] = spared();
	ask("Pause the fleet", {
		words: [`${whom} are put to sleep${but}. They come back by themselves when the time is over; each takes its time to start.`, field("For", length), place],
		button: "Pause the fleet", wait: done, act: ({ by }) => put({ ...body(), by }, "pause"), after: tell("The fleet pauses."),
	});
}

export function emergency() {
	const body = stop({ urgency: "emergency" });
	const [whom, but] = spared();
	ask("Stop at once", {
		words: [strong(`${whom} of the site are stopped at once, by the fastest way that each of them has${but}.`),
			"They stay stopped until somebody clears it under “Orders and limits”. It opens no breakers: where lives are at risk, use the switch of the site.", previewOf(body).place],
		button: "Stop the miners now", danger: true, act: ({ by }) => put({ ...body, by }, "stop"), after: tell(`${whom} stop${but}.`),
	});
}

export function release(circuit) {
	ask(`Release the emergency stop of ${circuit}?`, {
		words: [strong("Its miners are commanded again, and start one after the other as power allows."), "Make sure first that whoever pressed it, and everybody near it, is out of danger."],
		button: "Release it", danger: true, note: true, act: ({ by, note }) => request("POST", `stops/${path(circuit)}/release`, { by, note }), after: tell(`The emergency stop of ${circuit} is released.`),
	});
}

export function clear(order) {
	const { place, done } = previewOf(undefined, `preview?withdraw=${path(order.id)}`);
	ask("Clear this limit?", {
		words: [strong(`${order.id}: ${exact(order.cap_watts)} on ${on(order)}`), "Once it is cleared, the next tightest cap counts, and power rises as fast as the site allows.", place],
		button: "Clear it", wait: done, act: ({ by }) => request("DELETE", `limits/${path(order.id)}?by=${path(by)}`), after: tell("Limit cleared."),
	});
}

// ---- Alarms and maintenance ----

export function acknowledge(alarm) {
	ask("Acknowledge this alarm", {
		words: [strong(alarm.words), "It stays in the list until its cause is gone."], button: "Acknowledge", note: true,
		act: ({ by, note }) => request("POST", `alarms/${alarm.id}/acknowledge`, { by, note }), after: changed,
	});
}

const HOLDS = [["asleep", "asleep"], ["hands-off", "as it is: nothing is told to it"]];

export function maintain(kind, target) {
	const length = select([...DURATIONS, ["open", "until it is ended"]], "7200");
	const hold = select(HOLDS, "asleep");
	const at = `maintenance/${path(target)}`;
	const body = (by, note = "") => ({ kind, hold: hold.value, by, note, until: length.value === "open" ? null : Math.round(page.now() + Number(length.value) * 1000) });
	const { place, done, again } = previewOf(() => body("preview"), `${at}/preview`);
	hold.onchange = again;
	ask(`Maintenance of ${target}`, {
		words: ["Until it ends it is not woken, and nobody is called for it. This is no lock: whoever works on live parts opens the circuit.", field("For", length), field("Kept", hold), place],
		button: "Begin maintenance", note: true, wait: done, after: changed, act: ({ by, note }) => request("PUT", at, body(by, note)),
	});
}

export function endMaintenance(entry) {
	const at = `maintenance/${path(entry.name)}`;
	const { place, done } = previewOf(undefined, `${at}/preview?ends=1&kind=${entry.kind}`);
	ask(`End maintenance of ${entry.name}?`, {
		words: [`Begun by ${entry.by}. It is commanded again from the next cycle on. Make sure that nobody works on it.`, place], button: "End maintenance", wait: done,
		act: ({ by }) => request("DELETE", `${at}?kind=${entry.kind}&by=${path(by)}`), after: changed,
	});
}

// What may be done with a circuit, where that is more than one thing.
export const choose = (title, list) =>
	ask(title, { words: [el("div", "actions", ...list.map(([words, act]) => el("button", { type: "button", onclick: act }, words)))], who: false });

export const untilOf = (entry, now) => (known(entry.until) ? `until ${moment(entry.until, now)}` : "until it is ended");
