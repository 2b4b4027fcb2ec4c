// All miners at a glance: a cell for each, by circuit, on a canvas. Ten thousand are drawn from a few prepared pictures.

import { announce, el, text } from "./dom.js";
import { power } from "./format.js";
import { LEVELS, colours, drawState, notch, stateOf } from "./states.js";

// Between groups, in CSS pixels.
const GAP = 14;
// The height of a group's name.
const LABEL = 18;
const SMALLEST = 5;
// Of each state: a shade, one of three marks, searched for or not.
const LOOKS = LEVELS * 6;

// Where groups of `sizes` lie in a width: the largest cells that keep to a height, else the smallest there are.
function arrange(sizes, width, height) {
	let best = null;
	for (let cell = innerWidth < 2000 ? 26 : 44; cell >= SMALLEST; cell -= 1) {
		best = null;
		for (let across = 1; across <= sizes.length; across += 1) {
			const columns = Math.floor(((width + GAP) / across - GAP) / cell);
			if (columns < 1 || (across > 1 && columns * cell < 66)) break;
			let total = 0;
			for (let at = 0; at < sizes.length; at += across) {
				const most = Math.max(...sizes.slice(at, at + across));
				total += Math.ceil(most / columns) * cell + LABEL + (at ? 8 : 0);
			}
			if (!best || total < best.total) best = { cell, across, columns, total };
		}
		if (best && best.total <= height) break;
	}
	return best;
}

export class MinerMap {
	constructor(parent, onOpen) {
		this.onOpen = onOpen;
		this.canvas = el("canvas", {
			id: "map", tabindex: "0", role: "application", "aria-label": "Miners by circuit",
			"aria-describedby": "map-help",
		});
		this.context = this.canvas.getContext("2d", { alpha: true });
		this.ring = el("div", { class: "ring", hidden: true });
		this.tip = el("div", { class: "tip", hidden: true, "aria-hidden": "true" });
		this.holder = el("div", "map-holder", this.canvas, this.ring, this.tip);
		parent.append(this.holder);
		this.fleet = null;
		this.filter = null;
		this.cursor = -1;
		this.shown = true;
		this.late = false;
		this.tallest = 560;
		this.width = 0;
		this.fit = null;
		this.canvas.addEventListener("pointermove", (event) => this.hover(event));
		this.canvas.addEventListener("pointerleave", () => this.hideTip());
		this.canvas.addEventListener("click", (event) => {
			const index = this.at(event);
			if (index >= 0) {
				this.move(index, false);
				this.onOpen(index);
			}
		});
		this.canvas.addEventListener("keydown", (event) => this.key(event));
		this.canvas.addEventListener("focus", () => {
			if (this.cursor < 0 && this.fleet?.count) this.move(this.sequence[0], true);
			else this.mark();
		});
		this.canvas.addEventListener("blur", () => this.mark());
		new ResizeObserver(() => this.resize()).observe(this.holder);
	}

	setFleet(fleet) {
		const name = this.cursor >= 0 ? this.fleet?.names[this.cursor] : null;
		this.fleet = fleet;
		this.filter = null;
		this.cursor = name === null ? -1 : fleet.names.indexOf(name);
		this.groups = [];
		const by = fleet.circuits.map(() => []);
		for (let index = 0; index < fleet.count; index += 1) by[fleet.circuit[index]]?.push(index);
		for (const { index } of fleet.order) if (by[index].length) this.groups.push({ circuit: index, miners: by[index] });
		this.sequence = this.groups.flatMap((group) => group.miners);
		this.fit = null;
		this.layout();
	}

	resize() {
		const width = this.holder.clientWidth;
		const tallest = innerWidth < 700 ? 620 : innerWidth < 2000 ? Math.max(360, innerHeight * 0.62) : Math.max(360, innerHeight * 0.31);
		if (Math.abs(width - this.width) < 1 && Math.abs(tallest - this.tallest) < 40 && this.fit) return;
		this.width = width;
		this.tallest = tallest;
		this.layout();
	}

	layout() {
		if (!this.fleet || this.width < 20) return;
		this.fit = arrange(this.groups.map((group) => group.miners.length), this.width, this.tallest);
		if (!this.fit) return;
		const { cell, across, columns } = this.fit;
		const step = Math.floor((this.width + GAP) / across);
		this.place = new Int32Array(this.fleet.count * 2);
		let top = 0;
		this.groups.forEach((group, number) => {
			const column = number % across;
			if (column === 0 && number) top += 8;
			group.x = column * step;
			group.y = top;
			group.rows = Math.ceil(group.miners.length / columns);
			group.miners.forEach((index, at) => {
				this.place[index * 2] = group.x + (at % columns) * cell;
				this.place[index * 2 + 1] = top + LABEL + Math.floor(at / columns) * cell;
			});
			if (column === across - 1 || number === this.groups.length - 1) {
				const row = this.groups.slice(number - column, number + 1);
				top += LABEL + Math.max(...row.map((one) => one.rows)) * cell;
			}
		});
		this.height = top;
		this.scale = devicePixelRatio || 1;
		this.canvas.width = Math.round(this.width * this.scale);
		this.canvas.height = Math.round(top * this.scale);
		this.canvas.style.height = `${top}px`;
		this.prepare();
		this.draw();
		this.mark();
	}

	// One picture for each look that a cell can have: drawing it again is a copy.
	prepare() {
		const colour = colours();
		const pixels = Math.round(this.fit.cell * this.scale);
		const gap = Math.max(1, Math.round(Math.min(2, this.fit.cell / 8) * this.scale));
		const looks = this.fleet.states.length * LOOKS;
		const sheet = el("canvas");
		sheet.width = pixels;
		sheet.height = pixels * looks;
		const context = sheet.getContext("2d", { willReadFrequently: true });
		this.fleet.states.forEach((name, state) => {
			// What needs somebody is a little larger: it is found among ten thousand.
			const size = stateOf(name).rank < 4 ? pixels : pixels - gap;
			for (let kind = 0; kind < LOOKS; kind += 1) {
				drawState(context, 0, (state * LOOKS + kind) * pixels, size, name, colour, Math.floor(kind / 6), (kind >> 1) % 3);
			}
		});
		const { data } = context.getImageData(0, 0, pixels, pixels * looks);
		// Every second picture is faint, for those that are not searched for.
		for (let at = 3; at < data.length; at += 4) if (Math.floor(at / (4 * pixels * pixels)) & 1) data[at] *= 0.16;
		this.sheet = new Uint32Array(data.buffer);
		this.one = new ImageData(pixels, pixels);
		this.pixels = pixels;
		this.colour = colour;
		this.drawn = new Int16Array(this.fleet.count).fill(-1);
	}

	recolour() {
		if (!this.fit) return;
		this.prepare();
		this.draw();
	}

	// The number of the picture of a miner: its state, its share of the nameplate, whether it waits or is worked on, whether it is searched for.
	look(index) {
		const { fleet } = this;
		const state = fleet.state[index];
		let level = 0;
		if (fleet.states[state] === "hashing") {
			const share = fleet.draw[index] / fleet.nameplate[index];
			level = Number.isFinite(share) ? Math.max(0, Math.min(LEVELS - 1, Math.floor((share - 0.3) / 0.14))) : 0;
		}
		return state * LOOKS + (level * 3 + (fleet.work[index] ? 2 : fleet.flag[index] ? 1 : 0)) * 2 + (this.filter && !this.filter[index] ? 1 : 0);
	}

	// Copies the picture of a cell into `image`, which is `wide` pixels wide, at `to`.
	copy(look, image, wide, to) {
		const { sheet, pixels } = this;
		let from = look * pixels * pixels;
		for (let row = 0, start = to; row < pixels; row += 1, start += wide) {
			for (let at = start; at < start + pixels; at += 1) image[at] = sheet[from++];
		}
	}

	notch(index) {
		const [x, y] = [0, 1].map((at) => Math.round(this.place[index * 2 + at] * this.scale));
		notch(this.context, x, y, this.pixels, this.fleet.kindOf(index), this.colour);
	}

	draw() {
		if (!this.fit) return;
		this.late = !this.shown;
		if (this.late) return;
		const { context, scale, place } = this;
		const { width, height } = this.canvas;
		const image = context.createImageData(width, height);
		const all = new Uint32Array(image.data.buffer);
		for (const index of this.sequence) {
			const look = this.look(index);
			this.drawn[index] = look;
			this.copy(look, all, width, Math.round(place[index * 2 + 1] * scale) * width + Math.round(place[index * 2] * scale));
		}
		context.putImageData(image, 0, 0);
		for (const index in this.fleet.kind) this.notch(index);
		context.font = `${12 * scale}px ${getComputedStyle(document.body).fontFamily}`;
		context.fillStyle = this.colour("--muted");
		const wide = this.fit.columns * this.fit.cell;
		for (const group of this.groups) {
			context.fillText(shorten(context, this.fleet.circuits[group.circuit].name, wide * scale), group.x * scale, (group.y + 13) * scale);
		}
	}

	// Draws what looks different from before.
	update() {
		if (!this.fit || this.late) return;
		if (!this.shown) {
			this.late = true;
			return;
		}
		const others = this.sequence.filter((index) => this.look(index) !== this.drawn[index]);
		if (others.length > 2000) this.draw();
		else for (const index of others) {
			this.drawn[index] = this.look(index);
			this.copy(this.drawn[index], new Uint32Array(this.one.data.buffer), this.pixels, 0);
			this.context.putImageData(this.one, Math.round(this.place[index * 2] * this.scale), Math.round(this.place[index * 2 + 1] * this.scale));
			this.notch(index);
		}
		if (!this.tip.hidden && this.tipFor >= 0) this.fillTip(this.tipFor);
	}

	setShown(shown) {
		this.shown = shown;
		this.holder.hidden = !shown;
		if (shown && this.late) this.draw();
	}

	setFilter(filter) {
		this.filter = filter;
		this.update();
	}

	at(event) {
		if (!this.fit) return -1;
		const box = this.canvas.getBoundingClientRect();
		const x = event.clientX - box.left;
		const y = event.clientY - box.top;
		const { cell, columns } = this.fit;
		for (const group of this.groups) {
			const column = Math.floor((x - group.x) / cell);
			const row = Math.floor((y - group.y - LABEL) / cell);
			if (column < 0 || row < 0 || column >= columns || row >= group.rows) continue;
			return group.miners[row * columns + column] ?? -1;
		}
		return -1;
	}

	hover(event) {
		const index = this.at(event);
		this.canvas.classList.toggle("points", index >= 0);
		if (index < 0) return this.hideTip();
		this.tipFor = index;
		this.fillTip(index);
		this.tip.hidden = false;
		const x = this.place[index * 2];
		const y = this.place[index * 2 + 1];
		const wide = this.tip.offsetWidth;
		this.tip.style.left = `${Math.max(0, Math.min(this.width - wide, x + this.fit.cell + 6))}px`;
		this.tip.style.top = `${y + this.fit.cell + 6}px`;
	}

	fillTip(index) {
		text(this.tip, this.describe(index));
	}

	hideTip() {
		this.tip.hidden = true;
		this.tipFor = -1;
	}

	describe(index) {
		const { fleet } = this;
		const told = fleet.sleeps(index) ? ", told to sleep" : Number.isFinite(fleet.told[index]) ? `, told ${power(fleet.told[index])}` : "";
		return `${fleet.title(index)} · ${stateOf(fleet.stateName(index)).words}${fleet.work[index] ? ", in maintenance" : ""} · draws ${fleet.draws(index)}${told}`;
	}

	move(index, speak) {
		this.cursor = index;
		this.mark();
		if (speak) announce(`${this.describe(index)}, ${this.fleet.circuits[this.fleet.circuit[index]].name}`);
	}

	mark() {
		const shown = this.cursor >= 0 && this.fit && this.cursor < this.fleet.count && (document.activeElement === this.canvas || this.held);
		this.ring.hidden = !shown;
		if (!shown) return;
		const { cell } = this.fit;
		this.ring.style.width = `${cell + 3}px`;
		this.ring.style.height = `${cell + 3}px`;
		this.ring.style.transform = `translate(${this.place[this.cursor * 2] - 2}px, ${this.place[this.cursor * 2 + 1] - 2}px)`;
	}

	// Keeps the ring while the details of a miner are open.
	hold(index) {
		this.held = index >= 0;
		if (index >= 0) this.cursor = index;
		this.mark();
	}

	key(event) {
		if (!this.fleet?.count || !this.fit || event.ctrlKey || event.metaKey || event.altKey) return;
		const order = this.sequence;
		const at = Math.max(0, order.indexOf(this.cursor));
		const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -this.fit.columns * 5, PageDown: this.fit.columns * 5 };
		let next = -1;
		if (event.key in steps) next = order[Math.max(0, Math.min(order.length - 1, at + steps[event.key]))];
		else if (event.key === "Home") next = order[0];
		else if (event.key === "End") next = order[order.length - 1];
		else if (event.key === "ArrowUp" || event.key === "ArrowDown") next = this.beside(event.key === "ArrowUp" ? -1 : 1);
		else if (event.key === "n" || event.key === "N") next = this.nextMatch(at, event.key === "N" ? -1 : 1);
		else if (event.key === "Enter" || event.key === " ") {
			event.preventDefault();
			if (this.cursor >= 0) this.onOpen(this.cursor);
			return;
		} else return;
		event.preventDefault();
		if (next >= 0) {
			this.move(next, true);
			this.ring.scrollIntoView({ block: "nearest" });
		}
	}

	// The nearest cell above or below.
	beside(direction) {
		const x = this.place[this.cursor * 2];
		const y = this.place[this.cursor * 2 + 1];
		let best = -1;
		let least = Infinity;
		for (const index of this.sequence) {
			const down = (this.place[index * 2 + 1] - y) * direction;
			if (down <= 0) continue;
			const far = down * 8 + Math.abs(this.place[index * 2] - x);
			if (far < least) {
				least = far;
				best = index;
			}
		}
		return best;
	}

	nextMatch(at, direction) {
		if (!this.filter) return -1;
		const { length } = this.sequence;
		for (let step = 1; step <= length; step += 1) {
			const index = this.sequence[(at + direction * step + length * 2) % length];
			if (this.filter[index]) return index;
		}
		return -1;
	}
}

function shorten(context, name, wide) {
	if (context.measureText(name).width <= wide) return name;
	let short = name;
	while (short.length > 1 && context.measureText(`${short}…`).width > wide) short = short.slice(0, -1);
	return `${short}…`;
}
