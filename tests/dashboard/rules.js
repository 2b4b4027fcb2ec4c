// Rules for people who see little, no colours, or nothing, and who use a keyboard. Gives what breaks them, in words.
() => {
  const found = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (node) => {
    if (!node.checkVisibility?.({ checkOpacity: true, checkVisibilityCSS: true })) return false;
    const box = node.getBoundingClientRect();
    return box.width > 1 && box.height > 1;
  };
  const says = (node) => `<${node.tagName.toLowerCase()}${node.id ? `#${node.id}` : ""}${node.className && typeof node.className === "string" ? `.${node.className.trim().split(/\s+/).join(".")}` : ""}> "${(node.textContent ?? "").trim().slice(0, 40)}"`;

  // Names.
  const byId = (ids) => ids.split(/\s+/).map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim();
  const nameOf = (node) => {
    if (node.getAttribute("aria-label")?.trim()) return node.getAttribute("aria-label").trim();
    if (node.getAttribute("aria-labelledby")) return byId(node.getAttribute("aria-labelledby"));
    if (node.labels?.length) return [...node.labels].map((label) => label.textContent).join(" ").trim();
    if (/^(input|select|textarea|canvas)$/i.test(node.tagName)) return "";
    return node.textContent.trim();
  };
  for (const node of all("button, a[href], input, select, textarea, summary, [tabindex], [role=button], [role=slider], [role=grid], [role=img], dialog[open], section")) {
    if (!seen(node) || node.tabIndex < 0 && /^(div|main|aside)$/i.test(node.tagName)) continue;
    if (!nameOf(node)) found.push(`${says(node)} has no name`);
  }
  for (const node of all("[aria-labelledby], [aria-describedby], label[for]")) {
    const ids = `${node.getAttribute("aria-labelledby") ?? ""} ${node.getAttribute("aria-describedby") ?? ""} ${node.getAttribute("for") ?? ""}`;
    for (const id of ids.trim().split(/\s+/)) if (id && !document.getElementById(id) && seen(node)) found.push(`${says(node)} names #${id}, which is not there`);
  }
  for (const node of all("[role=slider]")) for (const name of ["aria-valuenow", "aria-valuemin", "aria-valuemax"]) if (!node.hasAttribute(name)) found.push(`${says(node)} has no ${name}`);
  for (const node of all("img")) if (!node.hasAttribute("alt")) found.push(`${says(node)} has no alt`);

  // Identities and landmarks.
  const ids = all("[id]").map((node) => node.id);
  for (const id of new Set(ids.filter((one, at) => ids.indexOf(one) !== at))) found.push(`the id ${id} is there more than once`);
  if (all("main").length !== 1) found.push("there is not one main");
  for (const name of ["header", "footer", "nav"]) if (!all(name).length) found.push(`there is no ${name}`);
  if (all("h1").length !== 1) found.push("there is not one h1");
  if (!document.documentElement.lang) found.push("the page has no language");
  if (!document.title.trim()) found.push("the page has no title");
  let level = 1;
  for (const node of all("h1, h2, h3, h4").filter((one) => !one.closest("dialog, aside"))) {
    const next = Number(node.tagName[1]);
    if (next > level + 1) found.push(`${says(node)} leaves a level of headings out`);
    level = next;
  }
  for (const node of all("th")) if (seen(node) && !node.getAttribute("scope")) found.push(`${says(node)} has no scope`);
  for (const node of all("ul, ol")) for (const child of node.children) if (child.tagName !== "LI") found.push(`${says(node)} holds <${child.tagName.toLowerCase()}>`);

  // Contrast of every text that is seen: 4.5 : 1, or 3 : 1 where it is large.
  const parse = (text) => {
    const canvas = (parse.canvas ??= Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true }));
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const cache = new Map();
  const colour = (text) => {
    if (!cache.has(text)) cache.set(text, parse(text));
    return cache.get(text);
  };
  const over = (top, ground) => [0, 1, 2].map((n) => top[n] * top[3] + ground[n] * (1 - top[3]));
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const own = colour(getComputedStyle(at).backgroundColor);
      if (own[3] > 0) layers.push(own);
      if (own[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const open = document.querySelector("dialog[open]");
  const walker = document.createTreeWalker(open ?? document.body, NodeFilter.SHOW_TEXT);
  const poor = new Set();
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node || poor.has(node) || !seen(node) || node.closest("noscript, script, .hear-only, .skip, [aria-hidden=true] .sign") || node.matches(":disabled, :disabled *")) continue;
    const style = getComputedStyle(node);
    let strength = 1;
    for (let at = node; at; at = at.parentElement) strength *= Number(getComputedStyle(at).opacity);
    const below = ground(node);
    const own = colour(style.color);
    const above = over([own[0], own[1], own[2], own[3] * strength], below);
    const [a, b] = [light(above), light(below)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const pixels = parseFloat(style.fontSize);
    const large = pixels >= 24 || (pixels >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      poor.add(node);
      found.push(`${says(node)} has a contrast of ${ratio.toFixed(2)}`);
    }
  }

  // Nothing is wider than the window, and no number is cut.
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) found.push(`the page is ${root.scrollWidth} pixels wide in a window of ${innerWidth}`);
  for (const node of all(".number, .big, .row-end, .value, .clock time, .cell.draw, .cell.told")) {
    if (seen(node) && node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display !== "inline") found.push(`${says(node)} is cut`);
    const box = node.getBoundingClientRect();
    if (seen(node) && !node.closest(".scroll, .list-view") && (box.right > innerWidth + 1 || box.left < -1)) found.push(`${says(node)} reaches out of the window`);
  }
  // No row of the circuits is cut, and nothing in it lies over its neighbour.
  const rows = document.getElementById("circuits-scroll");
  if (rows && rows.scrollHeight > rows.clientHeight + 1) found.push(`${says(rows)} is cut: ${rows.scrollHeight} pixels of rows in ${rows.clientHeight}`);
  if (rows && rows.getBoundingClientRect().bottom > rows.closest("section").getBoundingClientRect().bottom + 1) found.push(`${says(rows)} reaches out of its panel`);
  for (const node of all(".words-cell .flag, .words-cell .row-acts")) {
    if (!seen(node)) continue;
    const [own, cell] = [node.getBoundingClientRect(), node.closest("td").getBoundingClientRect()];
    if (own.right > cell.right + 1 || own.bottom > cell.bottom + 1) found.push(`${says(node)} reaches out of its cell`);
    const beside = node.matches(".flag") ? node.closest("td").querySelector(".row-acts").getBoundingClientRect() : null;
    if (beside?.width && own.right > beside.left + 1 && own.bottom > beside.top + 1 && own.top < beside.bottom - 1) found.push(`${says(node)} lies under what can be pressed`);
  }
  // What can be pressed is large enough for a finger or a hand that is not steady.
  for (const node of all("button, select, input")) {
    if (!seen(node)) continue;
    const box = node.getBoundingClientRect();
    if (box.height < 24 || box.width < 20) found.push(`${says(node)} is ${Math.round(box.width)} by ${Math.round(box.height)} pixels`);
  }
  return found;
}
