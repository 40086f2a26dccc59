// Draws the attention of a sentence: queries on the left, keys on the right, one line per weight.
const holder = document.getElementById("sentence");
const { colours, step, sentences } = JSON.parse(document.getElementById("data").textContent);
const SIDES = {
  encoder: ["source token", "attends to source token"],
  decoder: ["predicted token", "attends to input token"],
  cross: ["predicted token", "attends to source token"],
};
const HEIGHT = 27, GAP = Math.min(190, innerWidth / 4), TOP = 34, FAINT = 0.02;
const chosen = { sentence: 0, stack: "cross", layer: null, heads: null, pinned: null };
const unpacked = new Map();
const measure = document.createElement("canvas").getContext("2d");
measure.font = "15px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

const el = (id) => document.getElementById(id);
const colour = (head) => colours[head % colours.length];
const stack = () => sentences[chosen.sentence].stacks[chosen.stack];
const heads = () => stack().layers[chosen.layer];
const shown = (token) => (/^[\p{M}\p{Cc}\p{Cf}\s]*$/u.test(token) ? [...token].map((c) => "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")).join(" ") : token);

function weights(head) {
  const text = heads()[head];
  if (!unpacked.has(text)) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    unpacked.set(text, Float32Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true) * step));
  }
  return unpacked.get(text);
}

function node(name, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

function buttons(place, entries, current, choose) {
  place.replaceChildren(...entries.map(([value, name]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.setAttribute("aria-pressed", String(value === current));
    button.addEventListener("click", () => { choose(value); chosen.pinned = null; controls(); });
    return button;
  }));
}

function controls() {
  const layers = stack().layers;
  if (chosen.layer === null || chosen.layer >= layers.length) chosen.layer = layers.length - 1;
  const count = heads().length;
  if (chosen.heads === null || ![...chosen.heads].some((head) => head < count)) chosen.heads = new Set(Array(count).keys());
  buttons(el("stack"), Object.keys(SIDES).map((name) => [name, name]), chosen.stack, (value) => { chosen.stack = value; chosen.heads = null; });
  buttons(el("layer"), layers.map((_, i) => [i, "layer " + (i + 1)]), chosen.layer, (value) => { chosen.layer = value; });
  thumbnails(count);
  draw();
}

function thumbnails(count) {
  const { rows, columns } = stack();
  const all = document.createElement("button");
  all.type = "button";
  all.textContent = "all heads";
  all.addEventListener("click", () => { chosen.heads = new Set(Array(count).keys()); controls(); });
  const made = Array.from({ length: count }, (_, head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "head";
    button.style.setProperty("--head", colour(head));
    button.setAttribute("aria-pressed", String(chosen.heads.has(head)));
    const name = document.createElement("span");
    name.textContent = "head " + (head + 1);
    button.append(heatmap(head, rows.length, columns.length), name);
    button.addEventListener("click", () => {
      if (!chosen.heads.delete(head)) chosen.heads.add(head);
      if (!chosen.heads.size) chosen.heads.add(head);
      button.setAttribute("aria-pressed", String(chosen.heads.has(head)));
      draw();
    });
    button.addEventListener("dblclick", () => { chosen.heads = new Set([head]); controls(); });
    return button;
  });
  el("heads").replaceChildren(...made, ...(count > 1 ? [all] : []));
}

function heatmap(head, rows, columns) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const paint = canvas.getContext("2d"), matrix = weights(head);
  paint.fillStyle = colour(head);
  for (let place = 0; place < matrix.length; place++) {
    paint.globalAlpha = Math.min(1, Math.abs(matrix[place])) ** 0.7;
    paint.fillRect(place % columns, Math.floor(place / columns), 1, 1);
  }
  return canvas;
}

function draw() {
  const { rows, columns, missing } = stack();
  const picture = el("picture");
  if (!heads().length) {
    picture.replaceChildren();
    el("description").textContent = `This layer of the ${chosen.stack} has no attention weights` + (missing ? `: its mixer is ${missing}.` : ".");
    return;
  }
  const active = [...chosen.heads].filter((head) => head < heads().length).sort((a, b) => a - b);
  const wide = (tokens) => Math.max(70, ...tokens.map((token) => measure.measureText(shown(token)).width)) + 24;
  const [left, right] = [wide(rows), wide(columns)];
  const bars = 26 + 9 * active.length;
  const height = TOP + HEIGHT * Math.max(rows.length, columns.length) + 8;
  const svg = node("svg", { width: left + GAP + right + bars, height, role: "group", "aria-label": "tokens" });
  const y = (place) => TOP + HEIGHT * place + HEIGHT / 2;
  svg.append(node("text", { x: left - 10, y: 18, "text-anchor": "end", class: "title" }, SIDES[chosen.stack][0]));
  svg.append(node("text", { x: left + GAP + 10, y: 18, class: "title" }, SIDES[chosen.stack][1]));
  const lines = node("g", { class: "ink" }), marks = node("g", { class: "ink" });
  svg.append(lines, marks);
  const sides = [rows, columns].map((tokens, side) => tokens.map((token, place) => {
    const group = node("g", { class: "token", tabindex: 0, role: "button" });
    const x = side ? left + GAP + 4 : 4;
    group.append(node("rect", { x, y: y(place) - HEIGHT / 2, width: (side ? right : left) - 8, height: HEIGHT, rx: 5, class: "box" }));
    const at = side ? { x: x + 6 } : { x: left - 10, "text-anchor": "end" };
    group.append(node("text", { ...at, y: y(place) + 5, direction: "ltr" }, shown(token)));
    const key = [side, place].join();
    group.addEventListener("mouseenter", () => focus(side, place));
    group.addEventListener("focus", () => focus(side, place));
    group.addEventListener("mouseleave", rest);
    group.addEventListener("blur", rest);
    const pin = () => { chosen.pinned = chosen.pinned === key ? null : key; rest(); };
    group.addEventListener("click", pin);
    group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pin(); } });
    svg.append(group);
    return group;
  }));

  function focus(side, place) {
    lines.replaceChildren();
    marks.replaceChildren();
    const sums = side === null ? null : sides[1 - side].map(() => 0);
    for (const [order, head] of active.entries()) {
      const matrix = weights(head);
      for (let row = 0; row < rows.length; row++) {
        if (side === 0 && row !== place) continue;
        for (let column = 0; column < columns.length; column++) {
          if (side === 1 && column !== place) continue;
          const weight = Math.min(1, Math.abs(matrix[row * columns.length + column]));
          if (sums) sums[side ? row : column] += weight / active.length;
          if (weight < FAINT) continue;
          const strength = side === null ? weight / Math.max(1, active.length ** 0.5) : weight;
          lines.append(node("line", {
            x1: left, y1: y(row), x2: left + GAP, y2: y(column), stroke: colour(head),
            "stroke-width": side === null ? 2 : 2.5, "stroke-opacity": strength.toFixed(3),
          }));
          if (side === 0) marks.append(node("rect", {
            x: left + GAP + right + 9 * order, y: y(column) - 9, width: 7, height: 18, fill: colour(head), "fill-opacity": weight.toFixed(3),
          }));
        }
      }
    }
    for (const [of, groups] of sides.entries()) groups.forEach((group, i) => {
      const on = side !== null && of === side && i === place;
      group.classList.toggle("on", on);
      group.classList.toggle("off", sums !== null && !on && (of === side || sums[i] < 0.05));
    });
    describe(side, place, sums);
  }

  function describe(side, place, sums) {
    if (side === null) { el("description").textContent = "Point at a token."; return; }
    const names = side ? rows : columns;
    const best = sums.map((weight, i) => [weight, i]).sort((a, b) => b[0] - a[0]).slice(0, 4).filter(([weight]) => weight >= 0.005);
    const listed = best.map(([weight, i]) => `${shown(names[i])} ${weight.toFixed(2)}`).join(",  ");
    const token = shown((side ? columns : rows)[place]);
    const over = active.length > 1 ? ` (mean of ${active.length} heads)` : ` (head ${active[0] + 1})`;
    el("description").textContent = (side ? `${token} is attended to by  ` : `${token} attends to  `) + listed + over;
  }

  function rest() {
    if (chosen.pinned) focus(...chosen.pinned.split(",").map(Number));
    else focus(null, null);
  }

  picture.replaceChildren(svg);
  rest();
}

if (holder) {
  sentences.forEach((sentence, i) => holder.add(new Option(`${i + 1}. ${sentence.text}`, i)));
  holder.addEventListener("change", () => { chosen.sentence = Number(holder.value); chosen.pinned = null; controls(); });
  controls();
}
