// What is known of the miners: typed arrays, so that ten thousand of them are a few hundred kilobytes.

import { power } from "./format.js";
import { WORK } from "./states.js";

const SLEEP = -1;

// The roster of one generation and the state of each miner.
export class Fleet {
	constructor(roster) {
		this.generation = roster.generation;
		this.states = roster.states;
		this.circuits = roster.circuits.map((circuit) => ({ name: String(circuit.name), parent: circuit.parent ?? null }));
		this.parents = new Set(this.circuits.map((circuit) => circuit.parent));
		const count = roster.miners.length;
		this.count = count;
		this.names = new Array(count);
		this.lower = new Array(count);
		this.circuit = new Uint16Array(count);
		this.nameplate = new Float64Array(count);
		this.state = new Uint8Array(count);
		this.draw = new Float64Array(count).fill(NaN);
		this.told = new Float64Array(count).fill(NaN);
		this.flag = new Uint8Array(count);
		this.work = new Uint8Array(count);
		roster.miners.forEach(([name, circuit, , watts], index) => {
			this.names[index] = String(name);
			this.lower[index] = this.names[index].toLowerCase();
			this.circuit[index] = circuit;
			this.nameplate[index] = watts ?? NaN;
		});
		this.kind = {};
		for (const [index, kind] of roster.servers ?? []) {
			this.kind[index] = kind;
			this.lower[index] += ` ${kind}`;
		}
		// What hangs on each circuit, itself included, and the nameplates of all miners there.
		this.below = this.circuits.map(() => new Set());
		this.capacity = new Float64Array(this.circuits.length);
		this.circuits.forEach((_, index) => this.climb(index, (at) => this.below[at].add(index)));
		for (let index = 0; index < count; index += 1) this.climb(this.circuit[index], (at) => { this.capacity[at] += this.nameplate[index] || 0; });
		this.order = this.circuitOrder();
	}

	// Goes from a circuit to the root; a tree that is deeper than 64 is none.
	climb(index, visit) {
		for (let at = index, steps = 0; at !== null && this.circuits[at] && steps < 64; at = this.circuits[at].parent, steps += 1) visit(at);
	}

	// Circuits from the root down, each followed by what hangs on it: pairs of index and depth.
	circuitOrder() {
		const order = [];
		const visit = (parent, depth) => {
			this.circuits.forEach((circuit, index) => {
				if (circuit.parent !== parent || depth > 40) return;
				order.push({ index, depth });
				visit(index, depth + 1);
			});
		};
		visit(null, 0);
		return order;
	}

	// Takes the rows of a frame.
	take(rows) {
		for (const [index, state, draw, told, flag] of rows) {
			if (index >= this.count) continue;
			this.state[index] = state;
			this.draw[index] = draw ?? NaN;
			this.told[index] = told ?? NaN;
			this.flag[index] = flag;
		}
	}

	// Takes what is worked on. A circuit stands for all miners there; 1 is asleep, 2 is left alone, and the larger one holds.
	takeWork(list) {
		this.work.fill(0);
		for (const { name, kind, hold } of list ?? []) {
			const set = kind === "miner" ? null : this.below[this.at(name)];
			const work = hold === "hands-off" ? 2 : 1;
			for (let index = 0; index < this.count; index += 1) {
				if (set ? set.has(this.circuit[index]) : kind === "miner" && this.names[index] === name) this.work[index] = Math.max(this.work[index], work);
			}
		}
	}

	kindOf(index) {
		return this.kind[index] ?? "miner";
	}

	// The name, and the class of a server.
	title(index) {
		return this.names[index] + (index in this.kind ? ` (${this.kind[index]})` : "");
	}

	stateName(index) {
		return this.states[this.state[index]] ?? "unknown";
	}

	// What a miner draws, in words: of one that does not answer, the most that it may.
	draws(index) {
		return `${/^un/.test(this.stateName(index)) ? "≤ " : ""}${power(this.draw[index])}`;
	}

	sleeps(index) {
		return this.told[index] === SLEEP;
	}

	// The index of a circuit; -1 where there is none of that name.
	at(name) {
		return this.circuits.findIndex((circuit) => circuit.name === name);
	}

	// How many miners of a circuit, or of all, are in each state, by its index.
	counts(circuit = -1) {
		const counts = new Uint32Array(this.states.length);
		const set = circuit < 0 ? null : this.below[circuit];
		for (let index = 0; index < this.count; index += 1) {
			if (!set || set.has(this.circuit[index])) counts[this.state[index]] += 1;
		}
		return counts;
	}

	// How many miners of a circuit, or of all, somebody works on.
	works(circuit = -1) {
		return this.work.filter((one, index) => one && (circuit < 0 || this.below[circuit].has(this.circuit[index]))).length;
	}

	// Which miners a filter lets through, as a byte for each.
	matches({ words, states, circuit, kind }, into = new Uint8Array(this.count)) {
		const wanted = words.trim().toLowerCase();
		const set = circuit < 0 ? null : this.below[circuit];
		const every = states.size === 0;
		const passes = this.states.map((name) => every || states.has(name));
		let count = 0;
		for (let index = 0; index < this.count; index += 1) {
			const fits = (passes[this.state[index]] || (this.work[index] && states.has(WORK))) && (!set || set.has(this.circuit[index])) && (!kind || kind === this.kindOf(index)) && (!wanted || this.lower[index].includes(wanted));
			into[index] = fits ? 1 : 0;
			count += fits ? 1 : 0;
		}
		return { into, count };
	}
}
