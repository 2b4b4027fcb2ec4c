// One dialog for all questions: its parts, its fields, and what the daemon answers.

import { $, el, icon, show } from "./dom.js";
import { capital } from "./format.js";
import { person, setPerson } from "./api.js";

/** Opens the dialog. `build(form, close)` fills it; the one who opened it gets the focus back. */
export function open(title, build, { wide = false, danger = false } = {}) {
  const dialog = $("dialog");
  if (dialog.open) dialog.close();
  dialog.className = `${wide ? "wide" : ""} ${danger ? "dangerous" : ""}`;
  const close = () => dialog.close();
  const form = el("form", { method: "dialog", novalidate: true, autocomplete: "off" });
  dialog.replaceChildren(
    el("header", {}, el("h2", { id: "dialog-title" }, title), el("button", { type: "button", "aria-label": "Close without doing anything", onclick: close }, "Close")),
    form);
  build(form, close);
  dialog.showModal();
  form.querySelector("[data-first]")?.focus();
}

let fields = 0;
/** A control with its label and, under it, a word of help. */
export function field(label, control, help) {
  fields += 1;
  control.id = `field-${fields}`;
  const hint = help ? el("small", { id: `help-${fields}` }, help) : null;
  if (hint) control.setAttribute("aria-describedby", hint.id);
  return el("div", { class: "field" }, el("label", { for: control.id }, label), control, hint);
}

export function select(options, chosen) {
  return el("select", {}, ...options.map(([value, words]) => el("option", { value, selected: value === chosen }, words)));
}

/** Who does it: asked for each time, filled in after the first. */
export function whoField() {
  const input = el("input", { type: "text", value: person(), maxlength: "60", required: true, autocomplete: "off", spellcheck: "false" });
  input.addEventListener("change", () => setPerson(input.value.trim()));
  return input;
}

export const DURATIONS = [["900", "15 minutes"], ["1800", "30 minutes"], ["3600", "1 hour"], ["7200", "2 hours"], ["14400", "4 hours"], ["28800", "8 hours"]];

/** Says what went wrong, next to the button that did it. */
export function problem(place, answer) {
  place.replaceChildren(icon("critical"), el("span", {}, `${capital(answer.title)}. ${answer.detail ? `${capital(answer.detail)}.` : ""}`));
  place.className = "problem";
  place.setAttribute("role", "alert");
  show(place, true);
}

/** The last step of everything that moves power: what will happen, who, and a button that says what it does. */
export function confirm(title, { words, button, danger = false, who = true, note = false, extra = [], act, done }) {
  open(title, (form, close) => {
    const name = who ? whoField() : null;
    const remark = note ? el("input", { type: "text", maxlength: "200", autocomplete: "off" }) : null;
    const trouble = el("p", { hidden: true });
    const go = el("button", { type: "submit", class: danger ? "danger" : "main" }, button);
    if (name && !name.value) name.dataset.first = "";
    else if (remark) remark.dataset.first = "";
    else go.dataset.first = "";
    form.append(...words.map((one) => (typeof one === "string" ? el("p", {}, one) : one)), ...extra.map(({ node }) => node));
    if (name) form.append(field("Your name", name, "It is kept with what you do."));
    if (remark) form.append(field("Note (may be empty)", remark));
    form.append(trouble, el("div", { class: "actions" }, go, el("button", { type: "button", onclick: close }, "Do nothing")));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (name && !name.value.trim()) {
        problem(trouble, { title: "nobody has put a name to it", detail: "write your name" });
        name.focus();
        return;
      }
      if (name) setPerson(name.value.trim());
      go.disabled = true;
      const answer = await act({ by: name?.value.trim(), note: remark?.value.trim() ?? "" });
      go.disabled = false;
      if (answer.ok) {
        close();
        done?.(answer);
      } else problem(trouble, answer);
    });
  }, { danger });
}
