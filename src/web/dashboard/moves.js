// What somebody with a token may do. Everything that moves power is shown before it happens, has an end or says that
// it has none, and bears a name.

import { get, notOffered, offers, request, setPerson, setToken, token } from "./api.js";
import { DURATIONS, confirm, field, open, problem, select, whoField } from "./dialog.js";
import { announce, el, icon } from "./dom.js";
import { capital, known, many, moment, power, span } from "./format.js";

/** What the page knows when something is asked: `{ fleet, status, now(), changed() }`; set by the page. */
let page = null;
export const use = (what) => { page = what; };

const name = (text) => encodeURIComponent(text);
/** The name of an order says why and who: it is what stands in the record and in every list. */
function orderName(reason, by) {
  const all = `${reason} – ${by}`.replace(/\p{Cc}/gu, " ");
  const bytes = new TextEncoder().encode(all);
  return bytes.length <= 240 ? all : new TextDecoder().decode(bytes.slice(0, 240)).replace(/\ufffd+$/, "");
}

export function signIn() {
  open("Operate", (form, close) => {
    const secret = el("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true, "data-first": "" });
    const who = whoField();
    const trouble = el("p", { hidden: true });
    const go = el("button", { type: "submit", class: "main" }, "Use this token");
    form.append(
      el("p", {}, "A token of scope “operator” lets you set limits and acknowledge alarms. It stays in this tab until it is closed, and never stands in an address."),
      field("Token", secret), field("Your name", who, "It is kept with what you do."), trouble,
      el("div", { class: "actions" }, go, el("button", { type: "button", onclick: close }, "Do nothing")));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const before = token();
      const value = secret.value.trim();
      if (!/^[\x21-\x7e]{8,512}$/.test(value)) {
        problem(trouble, { title: "this is no token", detail: "it has 20 to 512 letters, digits and signs, and no blanks" });
        return;
      }
      setToken(value);
      setPerson(who.value.trim());
      go.disabled = true;
      const answer = await get("limits");
      go.disabled = false;
      if (!answer.ok) {
        setToken(before);
        problem(trouble, answer);
        return;
      }
      close();
      page.changed(true);
    });
  });
}

export function signOut() {
  confirm("Stop operating", {
    words: ["The token is forgotten. Limits that you have set stay."], button: "Forget the token", who: false,
    act: async () => {
      setToken("");
      return { ok: true };
    },
    done: () => page.changed(true),
  });
}

// ---- The preview ---------------------------------------------------------------------------------------------------

/** Asks what a limit would do. `null` where this daemon cannot say. */
async function ask(body, signal) {
  if (!offers("post", "preview")) return null;
  const answer = await request("POST", "preview", body, { signal, seconds: 5 });
  if (answer.status === 404) {
    notOffered("preview");
    return null;
  }
  return answer;
}

function preview(answer) {
  if (answer === null) return el("div", { class: "preview" }, el("p", {}, icon("notice"), " This daemon cannot show beforehand who moves."));
  if (!answer.ok) {
    const words = el("p");
    problem(words, { title: `no preview: ${answer.title}`, detail: answer.detail });
    return el("div", { class: "preview" }, words);
  }
  const { data } = answer;
  const { moves } = data;
  const parts = [];
  const put = (level, words) => parts.push(el("p", {}, icon(level), el("span", {}, words)));
  if (data.short_watts >= 1) put("critical", `It cannot be met: ${power(data.short_watts)} stay above the cap.`);
  else if (known(data.met_after_seconds)) put("good", data.met_after_seconds < 0.5 ? "It is met already." : `It is met after about ${span(data.met_after_seconds)}.`);
  else put("warning", "When it is met is not known.");
  put("notice", `${data.circuit}: ${power(data.power_watts)} now, ${power(data.after_watts)} after it.`);
  const kinds = [["lowered", "lowered"], ["put_to_sleep", "put to sleep"], ["raised", "raised"], ["woken", "woken"]].filter(([key]) => moves[key]).map(([key, words]) => `${moves[key].toLocaleString("en")} ${words}`);
  put(moves.total ? "held" : "good", moves.total ? `${many(moves.total, "miner")} ${moves.total === 1 ? "moves" : "move"}: ${kinds.join(", ")}.` : "No miner moves.");
  for (const skip of data.skipped ?? []) {
    put("warning", `${many(skip.miners, "miner")} skipped (${skip.why}), ${power(skip.watts)}: ${skip.names.slice(0, 6).join(", ")}${skip.miners > 6 ? " …" : ""}`);
  }
  const list = moves.miners.length ? el("details", {}, el("summary", {}, moves.miners.length < moves.total ? `The first ${moves.miners.length} of ${many(moves.total, "miner")}` : `Each of the ${many(moves.total, "miner")}`),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Miners that move" }, el("table", {}, el("thead", {}, el("tr", {}, ...["Miner", "From", "To", "After"].map((words, at) => el("th", { scope: "col", class: at ? "number" : "" }, words)))),
      el("tbody", {}, ...moves.miners.map((miner) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, miner.name)), el("td", { class: "number" }, power(miner.from_watts)),
        el("td", { class: "number" }, miner.sleeps ? "sleep" : power(miner.to_watts)), el("td", { class: "number" }, span(miner.after_seconds)))))))) : null;
  return el("div", { class: "preview" }, ...parts, list);
}

/** A place that shows the preview of a body as soon as it is there. */
function previewed(body) {
  const place = el("div", { "aria-live": "polite" }, el("p", { class: "empty" }, "Working out who moves …"));
  ask(body).then((answer) => place.replaceChildren(preview(answer)));
  return { node: place };
}

// ---- Limits --------------------------------------------------------------------------------------------------------

const untilText = (seconds, at) => (seconds === null ? "until somebody clears it" : `until ${at}`);

function put(body, id, words) {
  return async () => {
    const answer = await request("PUT", `limits/${name(id)}`, body);
    if (answer.ok && answer.data?.stored === false) announce(`${words} It is not on disk: a restart would forget it.`);
    return answer;
  };
}

export function setLimit(circuit) {
  const { fleet } = page;
  const root = fleet.circuits[fleet.order[0]?.index]?.name;
  open("Set a limit", (form, close) => {
    const where = select(fleet.order.map(({ index, depth }) => [fleet.circuits[index].name, `${"\u2003".repeat(Math.min(depth, 6))}${fleet.circuits[index].name}`]), circuit ?? root);
    const scope = select([["miners", "What its miners draw"], ["import", "What flows in, other load included"]], "miners");
    const cap = el("input", { type: "text", inputmode: "decimal", required: true, maxlength: "12", "data-first": "" });
    const unit = select([["1", "W"], ["1000", "kW"], ["1000000", "MW"]], fleet.capacity[0] >= 5e6 ? "1000000" : "1000");
    unit.setAttribute("aria-label", "Unit of the cap");
    const until = select([...DURATIONS, ["at", "until a time …"], ["open", "until somebody clears it"]], "3600");
    const time = el("input", { type: "time", hidden: true, "aria-label": "Until this time of day" });
    until.addEventListener("change", () => { time.hidden = until.value !== "at"; });
    const reason = el("input", { type: "text", required: true, maxlength: "80", autocomplete: "off", placeholder: "like: work on feeder 2" });
    const who = whoField();
    const trouble = el("p", { hidden: true });
    const now = el("small", { class: "now" });
    const say = () => {
      const stands = page.status?.cycle?.circuits.find((one) => one.name === where.value);
      now.textContent = stands ? `Its miners draw ${power(stands.miners_watts)} and may draw ${power(stands.budget_watts)} now.` : "";
    };
    where.addEventListener("change", say);
    say();
    const capField = field("Cap", cap);
    capField.append(unit);
    capField.classList.add("with-unit");
    const untilField = field("For", until);
    untilField.append(time);
    form.append(field("Circuit", where), now, field("Caps", scope), capField, untilField, field("Why", reason, "It becomes the name of the limit, together with yours."), field("Your name", who), trouble,
      el("div", { class: "actions" }, el("button", { type: "submit", class: "main" }, "Show what it does"), el("button", { type: "button", onclick: close }, "Do nothing")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const number = /^\s*\d+([.,]\d+)?\s*$/.test(cap.value) ? Number(cap.value.replace(",", ".")) : NaN;
      const missing = !known(number) ? ["the cap is no number", "write it like 300 or 1.5", cap] : !reason.value.trim() ? ["it does not say why", "write a few words, others will read them", reason]
        : !who.value.trim() ? ["nobody has put a name to it", "write your name", who] : until.value === "at" && !time.value ? ["the end is missing", "choose a time of day", time] : null;
      if (missing) {
        problem(trouble, { title: missing[0], detail: missing[1] });
        missing[2].focus();
        return;
      }
      setPerson(who.value.trim());
      const body = { circuit: where.value, scope: scope.value, cap_watts: number * Number(unit.value) };
      let end = null;
      if (until.value === "at") {
        end = nextTime(time.value, page.now());
        body.valid_until = new Date(end).toISOString();
      } else if (until.value !== "open") {
        body.duration_seconds = Number(until.value);
        end = page.now() + body.duration_seconds * 1000;
      }
      second(body, end, reason.value.trim(), who.value.trim());
    });
  });

  function second(body, end, reason, by) {
    const words = `${body.scope === "miners" ? "The miners" : "The import"} of ${body.circuit} at most ${power(body.cap_watts)}, ${untilText(end, end === null ? "" : `${moment(end, page.now())}, for ${span((end - page.now()) / 1000)}`)}.`;
    confirm("Set this limit?", {
      words: [el("p", { class: "strong" }, words), `${reason} – ${by}`], extra: [previewed(body)], button: "Set this limit", who: false,
      act: put(body, orderName(reason, by), words), done: () => {
        announce(`Limit set. ${words}`);
        page.changed();
      },
    });
  }
}

/** The next moment at which the clock shows this time. */
function nextTime(text, now) {
  const [hours, minutes] = text.split(":").map(Number);
  const at = new Date(now);
  at.setHours(hours, minutes, 0, 0);
  if (at.getTime() <= now) at.setDate(at.getDate() + 1);
  return at.getTime();
}

function rootBody(more) {
  const { fleet } = page;
  return { circuit: fleet.circuits[fleet.order[0].index].name, scope: "miners", cap_watts: 0, ...more };
}

export function pause() {
  const length = select(DURATIONS, "1800");
  length.dataset.first = "";
  const body = () => rootBody({ duration_seconds: Number(length.value) });
  const place = el("div");
  const again = () => place.replaceChildren(previewed(body()).node);
  length.addEventListener("change", again);
  again();
  confirm("Pause the fleet", {
    words: ["All miners are put to sleep. They come back by themselves when the time is over; each takes its time to start."], extra: [{ node: field("For", length) }, { node: place }],
    button: "Pause the fleet", act: ({ by }) => put(body(), orderName("pause", by), "The fleet pauses.")(),
    done: () => {
      announce("The fleet pauses.");
      page.changed();
    },
  });
}

export function emergency() {
  const body = rootBody({ urgency: "emergency" });
  confirm("Emergency stop", {
    words: [el("p", { class: "strong" }, "All miners of the site are stopped at once, by the fastest way that each of them has."), "They stay stopped until somebody clears it under “Orders and limits”. It does not open breakers: where lives are at risk, use the switch of the site."],
    extra: [previewed(body)], button: "Stop all miners now", danger: true,
    act: ({ by }) => put(body, orderName("emergency stop", by), "All miners stop.")(),
    done: () => {
      announce("Emergency stop: all miners stop.");
      page.changed();
    },
  });
}

export function clear(order) {
  confirm("Clear this limit?", {
    words: [el("p", { class: "strong" }, `${order.id}: ${power(order.cap_watts)} on ${order.scope === "miners" ? "the miners" : "the import"} of ${order.circuit}`), "Once it is cleared, the next tightest cap counts, and power rises as fast as the site allows."],
    button: "Clear it", who: false, act: () => request("DELETE", `limits/${name(order.id)}`), done: () => {
      announce("Limit cleared.");
      page.changed();
    },
  });
}

export function lift(source) {
  const length = select(DURATIONS.slice(0, 5), "900");
  length.dataset.first = "";
  confirm(`Lift the caps of ${source.name}?`, {
    words: [el("p", { class: "strong" }, "The site may draw more than was ordered, and you answer for it."), "Limits of the site and caps of other sources stay."],
    extra: [{ node: field("For", length) }], button: "Lift its caps", danger: true,
    act: ({ by }) => request("PUT", `lifts/${name(source.name)}`, { by, duration_seconds: Number(length.value) }), done: () => page.changed(),
  });
}

export function endLift(source) {
  confirm(`Let the caps of ${source.name} hold again?`, {
    words: ["Power falls at once to what they allow."], button: "Let them hold", who: false,
    act: () => request("DELETE", `lifts/${name(source.name)}`), done: () => page.changed(),
  });
}

// ---- Alarms and maintenance ----------------------------------------------------------------------------------------

export function acknowledge(alarm) {
  confirm("Acknowledge this alarm", {
    words: [el("p", { class: "strong" }, alarm.words), "It stays in the list until its cause is gone."], button: "Acknowledge", note: true,
    act: ({ by, note }) => request("POST", `alarms/${alarm.id}/acknowledge`, { by, note }), done: () => page.changed(),
  });
}

export function maintain(kind, target) {
  const length = select([...DURATIONS, ["open", "until it is ended"]], "7200");
  confirm(`Maintenance of ${target}`, {
    words: [`While it lasts, ${kind === "miner" ? "it is" : "its miners are"} not commanded, ${kind === "miner" ? "counts" : "count"} at the most that can be drawn, and ${kind === "miner" ? "raises" : "raise"} no alarms.`],
    extra: [{ node: field("For", length) }], button: "Begin maintenance", note: true,
    act: ({ by, note }) => request("PUT", `maintenance/${name(target)}`, { kind, by, note, until: length.value === "open" ? null : Math.round(page.now() + Number(length.value) * 1000) }),
    done: () => page.changed(),
  });
}

/** What may be done with a circuit, where that is more than one thing. */
export function choose(title, list) {
  open(title, (form) => {
    form.append(el("div", { class: "actions" }, ...list.map(([words, act]) => el("button", { type: "button", onclick: act }, words))));
  });
}

export function endMaintenance(entry) {
  confirm(`End maintenance of ${entry.name}?`, {
    words: [`${entry.by ? `Begun by ${entry.by}. ` : ""}It is commanded again from the next cycle on. Make sure that nobody works on it.`], button: "End maintenance", who: false,
    act: () => request("DELETE", `maintenance/${name(entry.name)}`), done: () => page.changed(),
  });
}

export const untilOf = (entry, now) => (known(entry.until) ? `until ${moment(entry.until, now)}` : "until it is ended");

