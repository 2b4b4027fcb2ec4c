// The last hours: surplus, draw, grid power, budget and cap, and a strip that says what bound the fleet. Gaps stay gaps.

import { attribute, el, keyed, svg, text } from "./dom.js";
import { UNKNOWN, capital, clock, day, known, power, powerUnit, zone } from "./format.js";
import { colours } from "./states.js";

// How each line looks; forms differ, so that they are told apart without colour.
const SERIES = [
	{ key: "surplus", width: 1.75, area: true },
	{ key: "grid", title: "Grid: import is positive, export negative", width: 1.5, dash: [2, 3] },
	{ key: "budget", colour: "--text", width: 1.5, dash: [7, 4], steps: true },
	{ key: "cap", words: "Site cap", title: "The tightest cap on the whole site. Caps on parts of it stand beside their circuits", colour: "--red", width: 2, dash: [2, 2, 9, 2], steps: true },
	{ key: "draw", width: 2.75 },
].map((one) => ({ words: capital(one.key), colour: `--${one.key}`, dash: [], ...one }));
const LEGEND = ["surplus", "draw", "grid", "budget", "cap"];
const WIRE = { surplus: "surplus_watts", draw: "power_watts", grid: "import_watts", budget: "budget_watts", cap: "cap_watts" };
const MOST = 6 * 3600 * 1000;
const STRIP = 22;

export class Chart {
	constructor(parts) {
		// Canvas, holder, legend, when, table.
		Object.assign(this, parts);
		this.context = this.canvas.getContext("2d");
		this.step = 10_000;
		this.from = 0;
		this.length = 0;
		this.data = Object.fromEntries(SERIES.map(({ key }) => [key, []]));
		this.binding = [];
		this.sources = [];
		this.minutes = 120;
		this.hidden = new Set();
		// An index counted from the beginning of the data; `null` follows the present.
		this.cursor = null;
		this.items = new Map();
		for (const key of LEGEND) this.legend.append(this.item(SERIES.find((series) => series.key === key)));
		this.canvas.addEventListener("pointermove", (event) => this.point(event));
		this.canvas.addEventListener("pointerdown", (event) => this.point(event));
		this.canvas.addEventListener("pointerleave", (event) => {
			if (event.pointerType === "mouse" && document.activeElement !== this.canvas) this.setCursor(null);
		});
		this.canvas.addEventListener("keydown", (event) => this.key(event));
		this.canvas.addEventListener("blur", () => this.setCursor(null));
		new ResizeObserver(() => this.draw()).observe(this.holder);
	}

	item(series) {
		const value = el("b", "value", UNKNOWN);
		const line = svg("path", { d: "M0 6h30", "stroke-width": series.width, "stroke-dasharray": series.dash.join(" ") || null });
		line.style.stroke = `var(${series.colour})`;
		const sample = svg("svg", { viewBox: "0 0 30 12", class: "sample", "aria-hidden": "true" }, series.area ? svg("path", { d: "M0 6h30v6H0z", class: "area" }) : null, line);
		const button = el("button", {
			class: "legend-item", "aria-pressed": "true", title: series.title,
			onclick: () => {
				if (!this.hidden.delete(series.key)) this.hidden.add(series.key);
				attribute(button, "aria-pressed", String(!this.hidden.has(series.key)));
				this.draw();
			},
		}, sample, el("span", {}, series.words), value);
		this.items.set(series.key, value);
		return button;
	}

	// Takes what the daemon kept. What was seen before stays where the daemon, started anew, does not know it.
	load(history) {
		const old = { ...this };
		this.step = Math.max(1, history.step_seconds) * 1000;
		this.from = Math.floor(history.from / this.step) * this.step;
		this.sources = history.sources.map(String);
		this.length = history.power_watts.length;
		const offset = old.step === this.step && old.length ? (this.from - old.from) / this.step : NaN;
		const before = Math.max(0, offset || 0);
		const join = (now, then) => Array.from({ length: before + this.length }, (_, at) => now?.[at - before] ?? then(at - before + offset));
		this.data = Object.fromEntries(SERIES.map(({ key }) => [key, join(history[WIRE[key]], (at) => old.data[key][at] ?? NaN)]));
		this.binding = join(history.binding, (at) => (old.binding[at] >= 0 ? this.source(old.sources[old.binding[at]]) : -1));
		this.from -= before * this.step;
		this.length += before;
		this.draw();
	}

	// The number of a source by its name.
	source(name) {
		const number = this.sources.indexOf(name);
		return number < 0 ? this.sources.push(name) - 1 : number;
	}

	// Adds the values of a frame to the step in which they lie.
	add(at, values, source) {
		if (!this.length) this.from = Math.floor(at / this.step) * this.step;
		const index = Math.floor((at - this.from) / this.step);
		if (index < 0 || index > this.length + MOST / this.step) return;
		while (this.length <= index) {
			for (const { key } of SERIES) this.data[key][this.length] = NaN;
			this.binding[this.length] = -1;
			this.length += 1;
		}
		for (const { key } of SERIES) this.data[key][index] = values[key] ?? NaN;
		this.binding[index] = this.source(source);
		const excess = this.length - MOST / this.step;
		if (excess > 60) {
			for (const { key } of SERIES) this.data[key].splice(0, excess);
			this.binding.splice(0, excess);
			this.length -= excess;
			this.from += excess * this.step;
			if (this.cursor !== null) this.cursor = Math.max(0, this.cursor - excess);
		}
	}

	setMinutes(minutes) {
		this.minutes = minutes;
		this.setCursor(null);
	}

	span() {
		// What is shorter than the window fills it, from ten minutes on.
		const count = Math.min(Math.round((this.minutes * 60_000) / this.step), Math.max(600_000 / this.step, this.length));
		const last = this.length - 1;
		return { first: last - count + 1, last, count };
	}

	// The range of the axis: what is drawn and zero. A cap far above everything is named and not drawn to scale.
	range(first, last) {
		let low = 0;
		let high = 0;
		const grow = (key, most = Infinity) => {
			if (this.hidden.has(key)) return;
			for (let index = Math.max(0, first); index <= last; index += 1) {
				const value = this.data[key][index];
				if (value < low) low = value;
				if (value > high && value <= most) high = value;
			}
		};
		for (const key of ["surplus", "draw", "grid"]) grow(key);
		const seen = Math.max(high, -low, 1000);
		grow("budget", seen * 1.6);
		grow("cap", seen * 1.6);
		const span = Math.max(high - low, 1000);
		const raw = span / Math.max(3, Math.min(7, Math.floor(this.plot.height / 40)));
		const power10 = 10 ** Math.floor(Math.log10(raw));
		const tick = [1, 2, 2.5, 5, 10].map((n) => n * power10).find((n) => n >= raw);
		return { low: low < 0 ? low - span * 0.03 : 0, high: high + span * 0.04, tick };
	}

	draw() {
		const width = this.holder.clientWidth;
		const height = this.holder.clientHeight;
		if (width < 40 || height < 40 || !this.length) return;
		const scale = devicePixelRatio || 1;
		if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
			this.canvas.width = Math.round(width * scale);
			this.canvas.height = Math.round(height * scale);
		}
		const root = parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;
		this.font = Math.round(root * 0.75);
		const colour = colours();
		const context = this.context;
		context.setTransform(scale, 0, 0, scale, 0, 0);
		context.clearRect(0, 0, width, height);
		context.font = `${this.font}px ${getComputedStyle(document.body).fontFamily}`;
		this.plot = { left: 0, top: this.font + 8, right: width - this.font * 5.4, bottom: height - this.font - 12 - STRIP, height: 0 };
		this.plot.height = this.plot.bottom - this.plot.top;
		const { first, last, count } = this.span();
		const range = this.range(first, last);
		const unit = powerUnit(Math.max(range.high, -range.low));
		const digits = (range.tick / unit.factor) % 1 ? (range.tick / unit.factor * 10) % 1 ? 2 : 1 : 0;
		const label = (value) => `${value < 0 ? "−" : ""}${Math.abs(value / unit.factor).toFixed(digits)}`;
		const widest = Math.max(context.measureText(label(range.high)).width, context.measureText(range.low < -range.tick ? label(range.low) : "").width, context.measureText(unit.unit).width);
		this.plot.left = Math.ceil(widest) + 10;
		const { left, right, top, bottom } = this.plot;
		const x = (index) => left + ((index - first) / Math.max(1, count - 1)) * (right - left);
		const y = (value) => bottom - ((value - range.low) / (range.high - range.low)) * (bottom - top);
		Object.assign(this, { x, y });

		context.textBaseline = "middle";
		context.textAlign = "right";
		context.lineWidth = 1;
		for (let value = Math.ceil(range.low / range.tick) * range.tick; value <= range.high; value += range.tick) {
			const zero = Math.abs(value) < range.tick / 2;
			context.strokeStyle = colour(zero ? "--muted" : "--line");
			const at = Math.round(y(value)) + 0.5;
			context.beginPath();
			context.moveTo(left, at);
			context.lineTo(right, at);
			context.stroke();
			context.fillStyle = colour("--muted");
			context.fillText(zero ? "0" : label(value), left - 6, at);
		}
		context.fillText(unit.unit, left - 6, this.font / 2);
		this.times(context, colour, first, last);
		context.save();
		context.beginPath();
		context.rect(left, top - 3, right - left + 2, bottom - top + 6);
		context.clip();
		for (const series of SERIES) if (!this.hidden.has(series.key)) this.line(context, colour, series, first, last);
		context.restore();
		this.strip(context, colour, first, last);
		this.ends(context, colour, last, range);
		this.mark(context, colour, first, last);
		this.values();
		if (this.table.open) this.fillTable();
	}

	times(context, colour, first, last) {
		const { left, right, bottom, top } = this.plot;
		const steps = [1, 5, 10, 15, 30, 60, 120].map((minutes) => minutes * 60_000);
		const most = Math.max(2, Math.floor((right - left) / (this.font * 6)));
		const step = steps.find((one) => ((last - first) * this.step) / one <= most) ?? steps.at(-1);
		const shift = new Date(this.from).getTimezoneOffset() * 60_000;
		const begin = this.from + first * this.step;
		const end = this.from + last * this.step;
		context.textAlign = "center";
		context.textBaseline = "alphabetic";
		for (let at = Math.ceil((begin - shift) / step) * step + shift; at <= end; at += step) {
			const place = Math.round(this.x((at - this.from) / this.step)) + 0.5;
			context.strokeStyle = colour("--line");
			context.beginPath();
			context.moveTo(place, top);
			context.lineTo(place, bottom + STRIP + 6);
			context.stroke();
			context.fillStyle = colour("--muted");
			if (place > left + this.font * 1.4 && place < right + this.font) context.fillText(clock(at), place, bottom + STRIP + this.font + 8);
		}
	}

	// One line; where pixels are fewer than values, each pixel shows the least and the most of its values.
	line(context, colour, series, first, last) {
		const values = this.data[series.key];
		const { left, right } = this.plot;
		const dense = (right - left) / Math.max(1, last - first) < 0.75;
		const runs = [];
		let run = null;
		let column = null;
		for (let index = Math.max(0, first); index <= last; index += 1) {
			const value = values[index];
			if (!known(value)) {
				run = null;
				continue;
			}
			const at = this.x(index);
			if (!run) {
				run = [];
				runs.push(run);
				column = null;
			}
			if (dense && column && Math.floor(at) === column.pixel) {
				column.low = Math.min(column.low, value);
				column.high = Math.max(column.high, value);
				column.last = value;
				continue;
			}
			column = { pixel: Math.floor(at), at, low: value, high: value, last: value };
			run.push(column);
		}
		context.lineWidth = series.width;
		context.setLineDash(series.dash);
		context.strokeStyle = colour(series.colour);
		context.fillStyle = colour(series.colour);
		context.lineJoin = "round";
		for (const points of runs) {
			context.beginPath();
			points.forEach((point, number) => {
				const level = this.y(series.steps ? point.last : point.low);
				if (!number) context.moveTo(point.at, level);
				else {
					if (series.steps) context.lineTo(point.at, this.y(points[number - 1].last));
					context.lineTo(point.at, level);
				}
				if (!series.steps && point.high > point.low) context.lineTo(point.at, this.y(point.high));
			});
			if (points.length === 1) context.lineTo(points[0].at + 1.5, this.y(points[0].last));
			if (series.area) {
				const line = new Path2D();
				points.forEach((point, number) => (number ? line.lineTo(point.at, this.y(point.last)) : line.moveTo(point.at, this.y(point.last))));
				line.lineTo(points.at(-1).at, this.y(0));
				line.lineTo(points[0].at, this.y(0));
				context.globalAlpha = 0.14;
				context.fill(line);
				context.globalAlpha = 1;
			}
			context.stroke();
		}
		context.setLineDash([]);
	}

	// What bound the fleet, as a strip with names and patterns.
	strip(context, colour, first, last) {
		const { left, right, bottom } = this.plot;
		const top = bottom + 6;
		const deep = STRIP - 6;
		context.textBaseline = "middle";
		context.textAlign = "left";
		let from = Math.max(0, first);
		for (let index = from + 1; index <= last + 1; index += 1) {
			if (index <= last && this.binding[index] === this.binding[from]) continue;
			const number = this.binding[from] ?? -1;
			const x0 = this.x(from - 0.5);
			const x1 = Math.min(right, this.x(index - 0.5));
			const begin = Math.max(left, x0);
			if (number >= 0 && x1 - begin >= 1) {
				context.save();
				context.beginPath();
				context.rect(begin, top, x1 - begin - (index <= last ? 1 : 0), deep);
				context.clip();
				context.fillStyle = colour("--well");
				context.fillRect(begin, top, x1 - begin, deep);
				hatch(context, colour("--hatch"), number % 6, begin, top, x1, deep);
				const name = plainSource(this.sources[number] ?? "");
				const wide = context.measureText(name).width;
				if (wide + 12 < x1 - begin) {
					context.fillStyle = colour("--well");
					context.fillRect(begin + 3, top, wide + 6, deep);
					context.fillStyle = colour("--text");
					context.fillText(name, begin + 6, top + deep / 2 + 0.5);
				}
				context.restore();
			}
			from = index;
		}
	}

	// The names of the lines at their ends, moved apart.
	ends(context, colour, last, range) {
		const labels = [];
		for (const series of SERIES) {
			if (this.hidden.has(series.key)) continue;
			let index = last;
			while (index > last - 12 && !known(this.data[series.key][index])) index -= 1;
			const value = this.data[series.key][index];
			if (!known(value)) continue;
			const above = value > range.high;
			labels.push({ words: `${series.words}${above ? " ↑" : ""}`, at: this.y(Math.min(value, range.high)), colour: colour(series.colour) });
		}
		labels.sort((a, b) => a.at - b.at);
		const gap = this.font + 3;
		for (let pass = 0; pass < 8; pass += 1) {
			labels.forEach((label, number) => {
				const next = labels[number + 1];
				if (next && next.at - label.at < gap) {
					const push = (gap - (next.at - label.at)) / 2;
					label.at -= push;
					next.at += push;
				}
			});
			for (const label of labels) label.at = Math.max(this.plot.top, Math.min(this.plot.bottom, label.at));
		}
		context.textAlign = "left";
		context.textBaseline = "middle";
		for (const label of labels) {
			context.fillStyle = label.colour;
			context.fillRect(this.plot.right + 5, label.at - 4, 3, 8);
			context.fillStyle = colour("--text");
			context.fillText(label.words, this.plot.right + 12, label.at);
		}
	}

	mark(context, colour, first, last) {
		if (this.cursor === null || this.cursor < first || this.cursor > last) return;
		const at = Math.round(this.x(this.cursor)) + 0.5;
		context.strokeStyle = colour("--text");
		context.lineWidth = 1;
		context.beginPath();
		context.moveTo(at, this.plot.top);
		context.lineTo(at, this.plot.bottom + STRIP);
		context.stroke();
		for (const series of SERIES) {
			const value = this.data[series.key][this.cursor];
			if (this.hidden.has(series.key) || !known(value)) continue;
			context.fillStyle = colour("--panel");
			context.strokeStyle = colour(series.colour);
			context.lineWidth = 2;
			context.beginPath();
			context.arc(at, this.y(value), 3.5, 0, 7);
			context.fill();
			context.stroke();
		}
	}

	// The values at the cursor, or the latest.
	values() {
		if (!this.length) return;
		const index = this.cursor ?? this.length - 1;
		const at = this.from + index * this.step;
		const said = [];
		for (const key of LEGEND) {
			const words = this.words(key, index);
			text(this.items.get(key), words);
			if (!this.hidden.has(key)) said.push(`${SERIES.find((series) => series.key === key).words} ${words}`);
		}
		const bound = this.sources[this.binding[index]];
		const words = bound === undefined ? "what bound is unknown" : `bound by ${plainSource(bound)}`;
		const time = this.cursor !== null ? clock(at, true) : this.stale ? `Last known, ${clock(at)}` : "Now";
		text(this.when, `${time}: ${words}`);
		// While nobody moves the cursor, nothing is read aloud.
		if (this.cursor === null && document.activeElement === this.canvas) return;
		const { first, last } = this.span();
		attribute(this.canvas, "aria-valuemin", Math.max(0, first));
		attribute(this.canvas, "aria-valuemax", last);
		attribute(this.canvas, "aria-valuenow", index);
		attribute(this.canvas, "aria-valuetext", `${clock(at, true)}, ${said.join(", ")}, ${words}`);
	}

	words(key, index) {
		// Without a cap there is none, as long as anything is known.
		return key === "cap" && !known(this.data.cap[index]) && known(this.data.draw[index]) ? "none" : power(this.data[key][index]);
	}

	setCursor(index) {
		this.cursor = index;
		this.draw();
	}

	point(event) {
		if (!this.x || !this.length) return;
		const { first, last, count } = this.span();
		const box = this.canvas.getBoundingClientRect();
		const share = (event.clientX - box.left - this.plot.left) / (this.plot.right - this.plot.left);
		const index = Math.round(first + share * (count - 1));
		this.setCursor(share > 1.02 ? null : Math.max(0, first, Math.min(last, index)));
	}

	key(event) {
		const minute = Math.max(1, Math.round(60_000 / this.step));
		const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -minute, ArrowUp: minute, PageDown: -10 * minute, PageUp: 10 * minute, Home: -Infinity, End: Infinity };
		if (event.key === "Escape") this.setCursor(null);
		else if (event.key in steps && this.length) {
			event.preventDefault();
			const { first, last } = this.span();
			const stride = event.shiftKey && Math.abs(steps[event.key]) === 1 ? steps[event.key] * minute : steps[event.key];
			this.setCursor(Math.max(0, first, Math.min(last, (this.cursor ?? last) + stride)));
		}
	}

	// The same as a table: a row for every few minutes, the newest first.
	fillTable() {
		const body = this.table.querySelector("tbody");
		const every = Math.max(1, Math.round(((this.minutes <= 30 ? 1 : this.minutes <= 120 ? 5 : 15) * 60_000) / this.step));
		const { first, last } = this.span();
		const rows = [];
		// The latest, then at whole minutes: rows that move with each step could not be read.
		const even = last - ((this.from / this.step + last) % every);
		for (let index = even; index >= Math.max(0, first); index -= every) rows.push(index);
		if (even < last) rows.unshift(last);
		keyed(body, rows, (index) => this.from + index * this.step,
			() => el("tr", {}, el("th", { scope: "row" }), ...Array.from({ length: 6 }, () => el("td"))),
			(row, index) => {
				const at = this.from + index * this.step;
				text(row.children[0], clock(at));
				LEGEND.forEach((key, column) => text(row.children[column + 1], this.words(key, index)));
				text(row.children[6], plainSource(this.sources[this.binding[index]] ?? UNKNOWN));
			});
		text(this.table.querySelector("caption"), `Every ${every * this.step / 60_000} min, newest first, ${day(this.from + last * this.step)}, ${zone(this.from)}`);
	}
}

// The label of a source as a person says it.
export function plainSource(source) {
	if (source === "fleet-maximum") return "nothing";
	if (source.startsWith("lost-meter:")) return `lost meter ${source.slice(11)}`;
	if (source.startsWith("lost-signal:")) return `lost signal ${source.slice(12)}`;
	if (source.startsWith("interlock:")) return `interlock of ${source.slice(10)}`;
	return source;
}

function hatch(context, colour, number, x0, top, x1, deep) {
	context.strokeStyle = colour;
	context.lineWidth = 1.25;
	context.beginPath();
	const line = (...at) => {
		context.moveTo(at[0], at[1]);
		context.lineTo(at[2], at[3]);
	};
	for (let at = Math.floor(x0 / 6) * 6 - deep; at < x1; at += 6) {
		if (number % 3 === 1) line(at, top + deep, at + deep, top);
		if (number === 2 || number === 4) line(at, top, at + deep, top + deep);
		if (number === 3) line(at, top, at, top + deep);
	}
	if (number === 5) for (let at = top + 3; at < top + deep; at += 5) line(x0, at, x1, at);
	context.stroke();
}
