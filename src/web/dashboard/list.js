// The miners as a list: the same as the map for those who do not see it. Only the rows in sight exist.

import { el, text } from "./dom.js";
import { UNKNOWN, power } from "./format.js";
import { WORK, colours, setSign, sign, stateOf } from "./states.js";

const ROW = 32;
const COLUMNS = [["state", "State"], ["name", "Miner"], ["circuit", "Circuit"], ["draw", "Draws"], ["told", "Told"], ["nameplate", "Nameplate"]];

export class MinerList {
	constructor(parent, onOpen) {
		this.onOpen = onOpen;
		this.fleet = null;
		this.rows = [];
		this.shown = new Int32Array(0);
		this.sort = "state";
		this.focus = 0;
		this.visible = false;
		this.heads = COLUMNS.map(([key, words]) =>
			el("div", { role: "columnheader", class: `cell ${key}`, "aria-sort": "none" },
				el("button", { class: "plain", onclick: () => this.sortBy(key) }, words)));
		this.head = el("div", { role: "row", class: "list-row list-head", "aria-rowindex": "1" }, ...this.heads);
		this.body = el("div", { role: "rowgroup", class: "list-body" });
		this.view = el("div", { class: "list-view", tabindex: "-1", onscroll: () => this.render() }, this.body);
		this.grid = el("div", { role: "grid", class: "list", "aria-label": "Miners", "aria-colcount": COLUMNS.length, hidden: true }, el("div", { role: "rowgroup" }, this.head), this.view);
		this.grid.addEventListener("keydown", (event) => this.key(event));
		parent.append(this.grid);
		new ResizeObserver(() => this.render()).observe(this.view);
	}

	setVisible(visible) {
		this.visible = visible;
		this.grid.hidden = !visible;
		if (visible) this.refresh();
	}

	setFleet(fleet) {
		this.fleet = fleet;
		this.filter = null;
		this.refresh();
	}

	setFilter(filter) {
		this.filter = filter;
		this.refresh();
	}

	sortBy(key) {
		this.back = this.sort === key ? !this.back : false;
		this.sort = key;
		this.refresh();
	}

	// Finds which miners are shown, and in which order.
	refresh() {
		if (!this.visible || !this.fleet) return;
		const { fleet, filter, sort } = this;
		const shown = [];
		for (let index = 0; index < fleet.count; index += 1) if (!filter || filter[index]) shown.push(index);
		const number = (array) => (a, b) => (Number.isNaN(array[b]) ? -1 : array[b]) - (Number.isNaN(array[a]) ? -1 : array[a]);
		const compare = {
			state: (a, b) => stateOf(fleet.stateName(a)).rank - stateOf(fleet.stateName(b)).rank,
			name: (a, b) => (fleet.lower[a] < fleet.lower[b] ? -1 : 1),
			circuit: (a, b) => fleet.circuit[a] - fleet.circuit[b],
			draw: number(fleet.draw), told: number(fleet.told), nameplate: number(fleet.nameplate),
		}[sort];
		shown.sort((a, b) => compare(a, b) || a - b);
		if (this.back) shown.reverse();
		this.shown = Int32Array.from(shown);
		this.heads.forEach((head, at) => {
			head.setAttribute("aria-sort", COLUMNS[at][0] === sort ? (this.back ? "descending" : "ascending") : "none");
		});
		this.grid.setAttribute("aria-rowcount", String(shown.length + 1));
		this.body.style.height = `${shown.length * ROW}px`;
		this.focus = Math.max(0, Math.min(this.focus, shown.length - 1));
		this.render();
	}

	row() {
		const cells = COLUMNS.map(([key]) => el("div", { role: "gridcell", class: `cell ${key}` }));
		const picture = sign("pending");
		const words = el("span");
		cells[0].append(picture, words);
		const node = el("div", { role: "row", class: "list-row", tabindex: "-1" }, ...cells);
		const entry = { node, cells, picture, words, at: -1 };
		node.addEventListener("click", () => {
			this.focus = entry.at;
			this.onOpen(this.shown[entry.at]);
		});
		this.body.append(node);
		return entry;
	}

	render() {
		if (!this.visible || !this.fleet) return;
		const { fleet, shown } = this;
		const first = Math.max(0, Math.floor(this.view.scrollTop / ROW) - 4);
		const count = Math.min(shown.length - first, Math.ceil(this.view.clientHeight / ROW) + 8);
		while (this.rows.length < count) this.rows.push(this.row());
		const colour = colours();
		this.rows.forEach((row, slot) => {
			const used = slot < count;
			row.node.hidden = !used;
			if (!used) return;
			const at = first + slot;
			const index = shown[at];
			const state = fleet.stateName(index);
			row.at = at;
			row.node.style.transform = `translateY(${at * ROW}px)`;
			row.node.setAttribute("aria-rowindex", String(at + 2));
			row.node.tabIndex = at === this.focus ? 0 : -1;
			setSign(row.picture, fleet.work[index] ? `${state} ${WORK}` : state, colour);
			text(row.words, `${stateOf(state).words}${fleet.work[index] ? ", in maintenance" : ""}`);
			text(row.cells[1], fleet.title(index));
			text(row.cells[2], fleet.circuits[fleet.circuit[index]]?.name ?? UNKNOWN);
			text(row.cells[3], fleet.draws(index));
			text(row.cells[4], fleet.sleeps(index) ? "sleep" : Number.isNaN(fleet.told[index]) ? "nothing yet" : power(fleet.told[index]));
			text(row.cells[5], power(fleet.nameplate[index]));
		});
	}

	// New values, in the order that stands: rows that jump cannot be read.
	update() {
		this.render();
	}

	recolour() {
		for (const row of this.rows) row.picture.dataset.state = "";
		this.render();
	}

	key(event) {
		if (!event.target.closest?.(".list-body")) return;
		const page = Math.max(1, Math.floor(this.view.clientHeight / ROW) - 1);
		const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity };
		if (event.key === "Enter" || event.key === " ") {
			event.preventDefault();
			this.onOpen(this.shown[this.focus]);
		} else if (event.key in steps) {
			event.preventDefault();
			this.focus = Math.max(0, Math.min(this.shown.length - 1, this.focus + steps[event.key]));
			const top = this.focus * ROW;
			if (top < this.view.scrollTop) this.view.scrollTop = top;
			if (top + ROW > this.view.scrollTop + this.view.clientHeight) this.view.scrollTop = top + ROW - this.view.clientHeight;
			this.render();
			this.rows.find((row) => !row.node.hidden && row.at === this.focus)?.node.focus({ preventScroll: true });
		}
	}
}
