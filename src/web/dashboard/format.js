// Numbers, times and lengths of time in words. What is not known is said so; it is never zero.

export const UNKNOWN = "unknown";
export const known = Number.isFinite;

// A number with three figures and its unit: `412 kW`. `steps` are pairs of a factor and a unit, the smallest first.
function scaled(value, steps) {
	const size = Math.abs(value);
	let index = 0;
	// What would be rounded to 1,000 belongs to the next unit.
	while (index < steps.length - 1 && size >= steps[index + 1][0] * 0.9995) index += 1;
	const [factor, unit] = steps[index];
	const number = size / factor;
	const digits = number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
	let text = number.toFixed(digits);
	if (index === 0) text = number.toFixed(number > 0 && number < 9.5 ? 1 : 0);
	if (Number(text) === 0) return [`0`, unit];
	return [(value < 0 ? "−" : "") + text, unit];
}

const WATTS = [[1, "W"], [1e3, "kW"], [1e6, "MW"], [1e9, "GW"]];
const HASHES = [[1, "H/s"], [1e3, "kH/s"], [1e6, "MH/s"], [1e9, "GH/s"], [1e12, "TH/s"], [1e15, "PH/s"], [1e18, "EH/s"], [1e21, "ZH/s"]];

export const powerParts = (watts) => (known(watts) ? scaled(watts, WATTS) : [UNKNOWN, ""]);
export const hashrateParts = (rate) => (known(rate) ? scaled(rate, HASHES) : [UNKNOWN, ""]);
const joined = ([text, unit]) => (unit ? `${text}\u00a0${unit}` : text);
export const power = (watts) => joined(powerParts(watts));
// A power as somebody wrote it, with up to five figures.
export function exact(watts) {
	const { factor, unit } = powerUnit(Math.abs(watts));
	return known(watts) ? `${Number((watts / factor).toPrecision(5))}\u00a0${unit}` : UNKNOWN;
}
export const hashrate = (rate) => joined(hashrateParts(rate));

// A number for an axis whose unit stands elsewhere.
export function powerUnit(most) {
	const found = [...WATTS].reverse().find(([factor]) => most >= factor) ?? WATTS[0];
	return { factor: found[0], unit: found[1] };
}

export function percent(ratio) {
	return known(ratio) ? `${Math.round(ratio * 100)}\u00a0%` : UNKNOWN;
}

// A length of time: `12 s`, `4 min`, `2 h 05 min`, `3 d 4 h`.
export function span(seconds) {
	if (!known(seconds)) return UNKNOWN;
	const all = Math.max(0, seconds);
	if (all < 2.95) return `${all.toFixed(all < 0.05 ? 0 : 1)}\u00a0s`;
	if (all < 90) return `${Math.round(all)}\u00a0s`;
	const minutes = Math.round(all / 60);
	if (minutes < 90) return `${minutes}\u00a0min`;
	const hours = Math.floor(minutes / 60);
	if (hours < 48) return `${hours}\u00a0h\u00a0${String(minutes % 60).padStart(2, "0")}\u00a0min`;
	return `${Math.floor(hours / 24)}\u00a0d\u00a0${hours % 24}\u00a0h`;
}

// A length of time in whole seconds, for a clock that counts.
export const wholeSpan = (seconds) => (seconds < 90 ? `${Math.floor(seconds)}\u00a0s` : span(seconds));

// Milliseconds since 1970 out of a number or of RFC 3339; `null` where there is none.
export function millis(time) {
	if (known(time)) return time;
	if (typeof time !== "string") return null;
	const value = Date.parse(time);
	return Number.isNaN(value) ? null : value;
}

const two = (number) => String(number).padStart(2, "0");

export function clock(ms, seconds = false) {
	const at = new Date(ms);
	const text = `${two(at.getHours())}:${two(at.getMinutes())}`;
	return seconds ? `${text}:${two(at.getSeconds())}` : text;
}

export function day(ms) {
	const at = new Date(ms);
	return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

// `18:30`, and with its day where that is another one than that of `now`.
export function moment(ms, now) {
	if (ms === null || ms === undefined) return UNKNOWN;
	return day(ms) === day(now) ? clock(ms) : `${day(ms)} ${clock(ms)}`;
}

// `UTC+5`, the zone in which this browser shows times.
export function zone(ms) {
	const minutes = -new Date(ms).getTimezoneOffset();
	if (minutes === 0) return "UTC";
	const size = Math.abs(minutes);
	const rest = size % 60 ? `:${two(size % 60)}` : "";
	return `UTC${minutes < 0 ? "−" : "+"}${Math.floor(size / 60)}${rest}`;
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const many = (count, one, more = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
