// Requests to the daemon. The token stays in this tab's session storage and goes out in a header, never in an address.

const KEPT = { token: "ballast-token", name: "ballast-name" };
const memory = {};

function keep(key, value) {
	memory[key] = value;
	try {
		if (value) sessionStorage.setItem(KEPT[key], value);
		else sessionStorage.removeItem(KEPT[key]);
	} catch {
		// Storage is forbidden: it is kept until the page is left.
	}
}

function kept(key) {
	if (memory[key] === undefined) {
		try {
			memory[key] = sessionStorage.getItem(KEPT[key]) ?? "";
		} catch {
			memory[key] = "";
		}
	}
	return memory[key];
}

export const token = () => kept("token");
export const setToken = (value) => keep("token", value);
export const person = () => kept("name");
export const setPerson = (value) => keep("name", value);

export function headers(more = {}) {
	return token() ? { Authorization: `Bearer ${token()}`, ...more } : more;
}

// The answer of a request: `ok`, `status`, `data`, and when it failed `title` and `detail` in words.
export async function request(method, path, body, { signal, seconds = 10 } = {}) {
	const timeout = AbortSignal.timeout(seconds * 1000);
	const options = {
		method, cache: "no-store", credentials: "omit", headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }),
		signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
	};
	if (body !== undefined) options.body = JSON.stringify(body);
	let response;
	let data = null;
	try {
		response = await fetch(`api/v1/${path}`, options);
		const written = await response.text();
		data = written ? JSON.parse(written) : null;
	} catch (error) {
		if (signal?.aborted) return { ok: false, aborted: true, status: 0, data: null, title: "", detail: "" };
		if (response && !(error instanceof SyntaxError)) response = undefined;
		if (!response) {
			const late = error.name === "TimeoutError";
			return { ok: false, status: 0, data: null, title: late ? `no answer within ${seconds} s` : "the daemon is not reached",
				detail: "whether the request was carried out is not known; look whether the daemon runs" };
		}
	}
	if (response.ok) return { ok: true, status: response.status, data, title: "", detail: "" };
	return { ok: false, status: response.status, data, title: data?.title ?? data?.error ?? `answer ${response.status}`,
		detail: data?.detail ?? data?.help ?? "" };
}

export const get = (path, options) => request("GET", path, undefined, options);

let paths = null;
// Reads what this daemon offers, so that nothing is shown that it does not have.
export async function readOffers() {
	const answer = await get("openapi.json");
	paths = answer.ok && answer.data?.paths ? answer.data.paths : null;
	if (!paths) return;
	const all = {};
	for (const [path, methods] of Object.entries(paths)) {
		const plain = path.replace(/\{[^}]*\}/g, "{}").replace(/^.*\/api\/v1\//, "");
		all[plain] = { ...all[plain], ...methods };
	}
	paths = all;
}

const refused = new Set();
// Whether the daemon has `METHOD path`, with `{}` for names. Where it does not say, `otherwise` until a 404.
export function offers(method, path, otherwise = true) {
	if (refused.has(path)) return false;
	if (!paths) return otherwise;
	return method.toLowerCase() in (paths[path] ?? {});
}
export const notOffered = (path) => refused.add(path);
export const forgetRefusals = () => refused.clear();
