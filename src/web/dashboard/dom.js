// Small helpers. Texts of the server only ever go in as text, never as markup.

export const $ = (id) => document.getElementById(id);

// An element: `el("td", { class: "number", onclick: act }, "12 kW")`; a text in place of the properties is its class.
export function el(tag, properties = {}, ...children) {
	const node = document.createElement(tag);
	fill(node, typeof properties === "string" ? { class: properties } : properties, children);
	return node;
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(tag, properties = {}, ...children) {
	const node = document.createElementNS(SVG, tag);
	fill(node, properties, children);
	return node;
}

function fill(node, properties, children) {
	for (const [name, value] of Object.entries(properties)) {
		if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
		else if (value === true) node.setAttribute(name, "");
		else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
	}
	node.append(...children.filter((child) => child !== null && child !== undefined));
}

// Sets a text where it differs: what stays the same is not laid out again, and a selection survives.
export function text(node, value) {
	if (node.textContent !== value) node.textContent = value;
}

export function attribute(node, name, value) {
	if (value === null || value === false) node.removeAttribute(name);
	else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function show(node, visible) {
	if (node.hidden === visible) node.hidden = !visible;
}

// Makes the children of `parent` those of `items`, and keeps what is there, so that focus and selection stay.
export function keyed(parent, items, keyOf, make, update) {
	const old = new Map();
	for (const child of parent.children) if (child.dataset.key !== undefined) old.set(child.dataset.key, child);
	let place = parent.firstElementChild;
	for (const item of items) {
		const key = String(keyOf(item));
		let node = old.get(key);
		if (node) old.delete(key);
		else {
			node = make(item);
			node.dataset.key = key;
		}
		if (node === place) place = place.nextElementSibling;
		else parent.insertBefore(node, place);
		update?.(node, item);
	}
	for (const node of old.values()) node.remove();
}

const ICONS = {
	critical: ["M5.2 1.5h5.6l3.7 3.7v5.6l-3.7 3.7H5.2l-3.7-3.7V5.2z", "M8 4.2v4.6M8 11.2v.6"],
	warning: ["M8 1.4 15 14H1z", "M8 5.6v4M8 11.6v.5"],
	notice: ["M8 1.2a6.8 6.8 0 1 0 0 13.6A6.8 6.8 0 0 0 8 1.2z", "M8 7.2v4.4M8 4.2v.6"],
	good: ["M8 1.2a6.8 6.8 0 1 0 0 13.6A6.8 6.8 0 0 0 8 1.2z", "m4.8 8.2 2.3 2.3 4.2-4.6"],
	held: ["M1.8 2.2h12.4", "M8 14V6M4.4 9.2 8 5.6l3.6 3.6"],
	wait: ["M8 1.2a6.8 6.8 0 1 0 0 13.6A6.8 6.8 0 0 0 8 1.2z", "M8 4.4V8l2.4 2"],
	watch: ["M1 8c2-3.4 4.4-5 7-5s5 1.6 7 5c-2 3.4-4.4 5-7 5S3 11.4 1 8z", "M8 6.6a1.4 1.4 0 1 0 0 2.8 1.4 1.4 0 0 0 0-2.8z"],
};

// A sign whose form says what it means; its colour only says it again.
export function icon(name) {
	const [shape, sign] = ICONS[name];
	return svg("svg", { class: `icon ${name}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
		svg("path", { class: "shape", d: shape }), svg("path", { class: "sign", d: sign }));
}

// Puts an icon into a node unless it is there.
export function setIcon(node, name) {
	if (node.dataset.icon === name) return;
	node.dataset.icon = name;
	node.replaceChildren(icon(name));
}

// Says something to those who hear the page: sparingly, and not to who comes by later.
let said;
export function announce(words) {
	$("live").textContent = words;
	clearTimeout(said);
	said = setTimeout(() => ($("live").textContent = ""), 10_000);
}
