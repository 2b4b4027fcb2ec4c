// The states of miners: words, and a sign for each whose form differs, not its colour alone.

export const STATES = {
	hashing: { words: "hashing", rank: 7, colour: "--draw" },
	starting: { words: "starting", rank: 6, colour: "--grid" },
	asleep: { words: "asleep", rank: 5, colour: "--muted" },
	pending: { words: "not asked yet", rank: 4, colour: "--muted" },
	straggler: { words: "does not follow", rank: 3, colour: "--surplus" },
	unanswered: { words: "no answer to a command", rank: 2, colour: "--violet" },
	unreachable: { words: "does not answer", rank: 1, colour: "--text" },
	fault: { words: "fault", rank: 0, colour: "--red" },
};
const OTHER = { words: "", rank: 8, colour: "--muted" };
// Beside their states: what somebody works on. It is no state, so it is a mark on the sign of one.
export const WORK = "maintenance";
export const stateOf = (name) => STATES[name] ?? { ...OTHER, words: name ?? "unknown" };

// How many shades a hashing miner has, from its lowest draw to its nameplate.
export const LEVELS = 5;

// The colours of the present theme, read once for each drawing.
export function colours() {
	const style = getComputedStyle(document.documentElement);
	return (name) => style.getPropertyValue(name).trim();
}

// Draws the sign of a state into the square at `x`, `y`; `level` is 0 to `LEVELS` − 1; `mark` is 1 for one that waits, 2 for one
// that somebody works on.
export function drawState(context, x, y, size, name, colour, level = LEVELS - 1, mark = 0) {
	const main = colour(stateOf(name).colour);
	const middle = size / 2;
	const line = Math.max(1, Math.round(size / 8));
	context.save();
	context.translate(x, y);
	context.fillStyle = main;
	context.strokeStyle = main;
	context.lineWidth = line;
	context.lineJoin = "miter";
	const half = line / 2;
	if (name === "hashing") {
		context.fillStyle = colour("--well");
		context.fillRect(0, 0, size, size);
		context.globalAlpha = 0.38 + (0.62 * level) / (LEVELS - 1);
		context.fillStyle = main;
		context.fillRect(0, 0, size, size);
	} else if (name === "starting") {
		context.fillStyle = colour("--well");
		context.fillRect(0, 0, size, size);
		context.fillStyle = main;
		polygon(context, [[middle, 0], [size, size], [0, size]]);
		context.fill();
	} else if (name === "asleep") {
		context.globalAlpha = 0.75;
		context.strokeRect(half, half, size - line, size - line);
		context.globalAlpha = 1;
		if (mark === 1) context.fillRect(size * 0.3, size * 0.3, size * 0.4, size * 0.4);
	} else if (name === "pending") {
		context.beginPath();
		context.arc(middle, middle, Math.max(1, size * 0.18), 0, 7);
		context.fill();
	} else if (name === "straggler") {
		polygon(context, [[middle, 0], [size, middle], [middle, size], [0, middle]]);
		context.fill();
	} else if (name === "unanswered") {
		context.lineWidth = Math.max(1.2, size * 0.2);
		context.beginPath();
		context.arc(middle, middle, middle - context.lineWidth / 2, 0, 7);
		context.stroke();
	} else if (name === "unreachable") {
		context.strokeRect(half, half, size - line, size - line);
		context.lineWidth = Math.max(1, size * 0.14);
		context.beginPath();
		context.moveTo(0, size);
		context.lineTo(size, 0);
		context.stroke();
	} else if (name === "fault") {
		context.lineWidth = Math.max(1.6, size * 0.26);
		const edge = context.lineWidth * 0.36;
		context.beginPath();
		context.moveTo(edge, edge);
		context.lineTo(size - edge, size - edge);
		context.moveTo(size - edge, edge);
		context.lineTo(edge, size - edge);
		context.stroke();
	} else {
		context.strokeRect(half, half, size - line, size - line);
	}
	if (mark === 2) {
		// A corner, apart from the sign below it by a line of the ground.
		context.globalAlpha = 1;
		for (const [ground, from] of [["--panel", 0.25], ["--violet", 0.42]]) {
			context.fillStyle = colour(ground);
			polygon(context, [[size, size * from], [size, size], [size * from, size]]);
			context.fill();
		}
	}
	context.restore();
}

export const KINDS = ["miner", "interruptible", "throttle", "guaranteed"];

// Notches in the lower edge of a server's sign: the later its class gives power up, the more.
export function notch(context, x, y, size, kind, colour) {
	context.fillStyle = colour("--panel");
	for (let at = KINDS.indexOf(kind); at > 0; at -= 1) context.fillRect(x + size * (at / 4 - 0.07), y + size * 0.6, size * 0.14, size * 0.4);
}

function polygon(context, points) {
	context.beginPath();
	points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
	context.closePath();
}

// A canvas of its own with the sign of a state, for keys and lists. Behind a blank stands that somebody works on it.
export function sign(name) {
	const canvas = document.createElement("canvas");
	canvas.className = "sign-of";
	canvas.dataset.state = name;
	canvas.setAttribute("aria-hidden", "true");
	paintSign(canvas);
	return canvas;
}

export function paintSign(canvas, colour = colours()) {
	const scale = Math.max(1, Math.ceil(devicePixelRatio));
	canvas.width = 14 * scale;
	canvas.height = 14 * scale;
	const context = canvas.getContext("2d");
	const [name, work] = canvas.dataset.state.split(" ");
	drawState(context, scale, scale, 12 * scale, name, colour, LEVELS - 1, work ? 2 : 0);
}

// Gives a sign of a list another state.
export function setSign(canvas, name, colour) {
	if (canvas.dataset.state === name) return;
	canvas.dataset.state = name;
	paintSign(canvas, colour);
}
