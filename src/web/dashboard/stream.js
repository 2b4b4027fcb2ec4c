// The stream of events. `fetch` and not `EventSource`, because only it can send a token in a header.

import { headers } from "./api.js";

const SILENT = 40_000; // the daemon says something every 15 s
const LONGEST_PAUSE = 4_000;
const LONGEST_LINE = 32 * 1024 * 1024;

// Cuts a stream into events and hands each to `take(name, data)`.
class Events {
	constructor(take) {
		this.take = take;
		this.rest = "";
		this.name = "";
		this.data = [];
	}

	push(chunk) {
		const lines = (this.rest + chunk).split("\n");
		this.rest = lines.pop();
		if (this.rest.length > LONGEST_LINE) throw new Error("a line of the stream is too long");
		for (const line of lines) this.line(line);
	}

	line(text) {
		const line = text.endsWith("\r") ? text.slice(0, -1) : text;
		if (line === "") {
			if (this.data.length) this.take(this.name, this.data.join("\n"));
			this.name = "";
			this.data = [];
		} else if (line.startsWith("event:")) this.name = line.slice(6).trim();
		else if (line.startsWith("data:")) this.data.push(line.slice(line[5] === " " ? 6 : 5));
	}
}

/**
 * Follows the stream for ever. `on.event(name, value)`, `on.open()`, `on.lost(status)` with the HTTP status or 0;
 * `generation()` names the roster that is known. `again()` of the answer starts anew at once.
 */
export function follow(on, generation) {
	let abort = null;
	let wake = null;
	let failures = 0;

	async function once() {
		abort = new AbortController();
		let timer = 0;
		const watch = () => {
			clearTimeout(timer);
			timer = setTimeout(() => abort.abort(), SILENT);
		};
		let heard = false;
		try {
			watch();
			const roster = generation();
			const query = roster ? `?roster=${encodeURIComponent(roster)}` : "";
			const response = await fetch(`api/v1/events${query}`, {
				headers: headers({ Accept: "text/event-stream" }), cache: "no-store", credentials: "omit", signal: abort.signal,
			});
			if (!response.ok || !response.body) {
				on.lost(response.status);
				await response.body?.cancel();
				return false;
			}
			on.open();
			const decoder = new TextDecoder();
			const events = new Events((name, data) => {
				on.event(name, JSON.parse(data));
				heard = true;
			});
			const reader = response.body.getReader();
			for (;;) {
				const { done, value } = await reader.read();
				if (done) break;
				watch();
				events.push(decoder.decode(value, { stream: true }));
			}
			return heard;
		} catch (error) {
			if (error instanceof SyntaxError) console.warn("an event of the daemon cannot be read", error);
			if (!heard) on.lost(0);
			return heard;
		} finally {
			clearTimeout(timer);
			abort.abort();
		}
	}

	(async () => {
		for (;;) {
			const good = await once();
			failures = good ? 0 : failures + 1;
			// The daemon ends every connection after two minutes: then there is nothing to wait for.
			const pause = good ? 50 : Math.min(LONGEST_PAUSE, 400 * 2 ** Math.min(failures, 5)) * (0.75 + Math.random() / 2);
			await new Promise((resolve) => {
				wake = resolve;
				setTimeout(resolve, pause);
			});
		}
	})();

	return {
		again() {
			failures = 0;
			abort?.abort();
			wake?.();
		},
	};
}
