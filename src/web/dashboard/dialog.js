// One dialog for all questions: its fields, its button, and what the daemon answers.

import { person, setPerson } from "./api.js";
import { $, attribute, el, icon, show } from "./dom.js";
import { capital } from "./format.js";

let fields = 0;
// A control with its label, a word of help under it, and what else belongs to it.
export function field(label, control, help, ...more) {
	fields += 1;
	control.id = `field-${fields}`;
	const hint = help ? el("small", { id: `help-${fields}` }, help) : null;
	attribute(control, "aria-describedby", hint?.id ?? null);
	return el("div", "field", el("label", { for: control.id }, label), control, ...more, hint);
}

export const select = (options, chosen) => el("select", {}, ...options.map(([value, words]) => el("option", { value, selected: value === chosen }, words)));
export const input = (more) => el("input", { type: "text", autocomplete: "off", spellcheck: "false", required: true, pattern: ".*\\S.*", maxlength: "80", ...more });
export const strong = (words) => el("p", "strong", words);
export const DURATIONS = [["900", "15 minutes"], ["1800", "30 minutes"], ["3600", "1 hour"], ["7200", "2 hours"], ["14400", "4 hours"], ["28800", "8 hours"]];

// Says what went wrong, where it is asked.
export function problem(place, answer) {
	place.replaceChildren(icon("critical"), el("span", {}, `${capital(answer.title)}. ${answer.detail ? `${capital(answer.detail)}.` : ""}`));
	place.className = "problem";
	attribute(place, "role", "alert");
	show(place, true);
}

// Asks before something is done: `words` say what will happen, `button` what it does. `act({ by, note })` does it and gives
// an answer; `after()` follows when it was done. `wait` is a promise before whose end the button cannot be pressed.
export function ask(title, { words = [], button, danger = false, who = true, note = false, wait = null, act, after }) {
	const dialog = $("dialog");
	if (dialog.open) dialog.close();
	dialog.className = danger ? "dangerous" : "";
	const close = () => dialog.close();
	const name = who ? input({ value: person(), maxlength: "60" }) : null;
	const remark = note ? input({ required: false, pattern: null, maxlength: "200" }) : null;
	const trouble = el("p", { hidden: true });
	const go = el("button", { class: danger ? "danger" : "main", disabled: wait !== null }, button ?? "");
	wait?.finally(() => { go.disabled = false; });
	const form = el("form", { method: "dialog", autocomplete: "off" }, ...words.map((one) => (typeof one === "string" ? el("p", {}, one) : one)),
		name && field("Your name", name, "It is kept with what you do."), remark && field("Note (may be empty)", remark), trouble,
		el("div", "actions", button ? go : null, el("button", { type: "button", onclick: close }, "Do nothing")));
	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		if (name) setPerson(name.value.trim());
		go.disabled = true;
		const answer = await act({ by: name?.value.trim(), note: remark?.value.trim() });
		go.disabled = false;
		if (!answer.ok) return problem(trouble, answer);
		if (!answer.goesOn) close();
		after?.(answer);
	});
	dialog.replaceChildren(el("header", {}, el("h2", { id: "dialog-title" }, title), el("button", { type: "button", onclick: close }, "Close")), form);
	dialog.showModal();
	[...form.querySelectorAll("input, select")].find((one) => !one.value || one.dataset.first !== undefined)?.focus();
	if (!form.contains(document.activeElement)) go.focus();
}
