// The stream of events. `fetch` and not `EventSource`, because only it can send a token in a header.

import { headers } from "./api.js";

// The daemon says something every 15 s.
const SILENT = 40_000;
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

// Follows the stream until it is stopped: `on.event(name, value)`, `on.open()`, `on.lost(status)` with the HTTP status or 0;
// `generation()` names the roster that is known.
export function follow(on, generation) {
	let abort = null;
	let wake = null;
	let failures = 0;
	let stopped = false;

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
				heard = true;
				try {
					on.event(name, JSON.parse(data));
				} catch (error) {
					console.error("an event of the daemon cannot be shown", error);
				}
			});
			const reader = response.body.getReader();
			for (;;) {
				const { done, value } = await reader.read();
				if (done) break;
				watch();
				events.push(decoder.decode(value, { stream: true }));
			}
			return heard;
		} catch {
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
				if (!stopped) setTimeout(resolve, pause);
			});
		}
	})();

	const again = () => {
		stopped = false;
		failures = 0;
		abort?.abort();
		wake?.();
	};
	return {
		again,
		resume() {
			if (stopped) again();
		},
		// A browser has six connections to a place: a page that nobody sees must not hold one.
		stop() {
			stopped = true;
			abort?.abort();
		},
	};
}
