
"use strict";
// Rows of the data: what `_row` of labelling/review.py writes. Text from file names only ever becomes textContent.
const data = JSON.parse(document.getElementById("data").textContent);
const [SHOWN, FILE, LABEL, PROBABILITY, STATUS, REASON, CELL, BOX, SIZE, FACE, AREA, ID] = Array(12).keys();
const WIDTH = 156, HEIGHT = 216, GAP = 10, STORE = "gender_recognizer " + data.key;
const get = (id) => document.getElementById(id);
const cards = get("cards"), drawn = new Map();
const letters = data.classes.map((name) => name[0].toLowerCase());
const keys = data.classes.map((name, label) =>
  /[a-z]/.test(letters[label]) && letters.filter((letter) => letter === letters[label]).length === 1 ? letters[label] : String(label + 1));
let judged = load(), unsaved = 0, group = 0, rows = [], current = 0, columns = 1, step = WIDTH, margin = 0;

function load() {
  try {
    const known = Object.entries(JSON.parse(localStorage.getItem(STORE) || "{}"));
    return new Map(known.filter(([, label]) => data.classes.includes(label)));
  } catch { return new Map(); }
}

function keep() {
  try { localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(judged))); } catch { /* saving still works */ }
}

function element(kind, name, text) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
const labelOf = (row) => row[LABEL] < 0 ? "" : data.classes[row[LABEL]];
const percent = (row) => row[LABEL] < 0 ? "" : `${(100 * row[PROBABILITY]).toFixed(1)} %`;

function choose() {
  const part = get("name").value.toLowerCase(), which = get("which").value, order = get("order").value;
  rows = data.groups[group].rows.filter((row) => (!part || row[SHOWN].toLowerCase().includes(part)) &&
    (which === "all" || judged.has(row[ID]) === (which === "judged")));
  if (order === "sure") rows.reverse();
  if (order === "name") rows.sort((one, other) => one[SHOWN] < other[SHOWN] ? -1 : 1);
  current = 0;
  get("none").hidden = rows.length > 0;
  [...get("groups").children].forEach((button, index) => button.setAttribute("aria-pressed", index === group));
  layOut();
  window.scrollTo(0, 0);
  say();
}

function layOut() {
  columns = Math.max(1, Math.floor((cards.clientWidth + GAP) / (WIDTH + GAP)));
  step = columns > 1 ? Math.min(WIDTH + 3 * GAP, (cards.clientWidth - WIDTH) / (columns - 1)) : WIDTH;
  margin = (cards.clientWidth - (columns - 1) * step - WIDTH) / 2;
  cards.style.height = `${Math.ceil(rows.length / columns) * (HEIGHT + GAP)}px`;
  drawn.forEach((card) => card.remove());
  drawn.clear();
  draw();
}

function draw() {
  const top = -cards.getBoundingClientRect().top, line = HEIGHT + GAP;
  const first = Math.max(0, Math.floor(top / line) - 2) * columns;
  const last = Math.min(rows.length, (Math.ceil((top + window.innerHeight) / line) + 2) * columns);
  for (const [index, card] of drawn) {
    if (index >= first && index < last) continue;
    card.remove();
    drawn.delete(index);
  }
  for (let index = first; index < last; index++) if (!drawn.has(index)) add(index);
}

function add(index) {
  const card = makeCard(rows[index]);
  card.id = `card-${index}`;
  card.dataset.index = index;
  card.setAttribute("aria-selected", index === current);
  card.style.transform = `translate(${margin + (index % columns) * step}px, ${Math.floor(index / columns) * (HEIGHT + GAP)}px)`;
  drawn.set(index, card);
  cards.append(card);
  if (index === current) cards.setAttribute("aria-activedescendant", card.id);
}

function makeCard(row) {
  const card = element("div", "card"), label = judged.get(row[ID]);
  card.setAttribute("role", "option");
  card.append(makeThumbnail(row));
  const text = element("p", "text");
  const status = data.statuses[row[STATUS]];
  const given = row[LABEL] < 0 ? status : `${status === "unsure" ? "perhaps " : ""}${labelOf(row)} ${percent(row)}`;
  if (!label) text.append(given);
  else {
    card.classList.add(label === labelOf(row) ? "judged" : "changed");
    const right = label === labelOf(row);
    text.append(element("span", "new", `${right ? "✓" : "→"} ${label}`), right ? ` ${percent(row)}` : ` (${given})`);
  }
  card.append(text);
  if (row[REASON]) card.append(element("p", "text file", row[REASON]));
  card.append(element("p", row[REASON] ? "text file" : "text file long", row[SHOWN]));
  card.title = row[SHOWN];
  return card;
}

function makeThumbnail(row) {
  const made = element("div", "thumbnail"), side = data.cell;
  if (row[CELL] < 0) {
    made.classList.add("none");
    return made;
  }
  const sheet = Math.floor(row[CELL] / data.perSheet), place = row[CELL] % data.perSheet;
  made.style.backgroundImage = `url("${data.sheets}${String(sheet).padStart(4, "0")}.jpg")`;
  made.style.backgroundPosition = `${-side * (place % data.perRow)}px ${-side * Math.floor(place / data.perRow)}px`;
  if (row[BOX]) made.append(outline(element("div", "box"), row[BOX], [1, 1], "px"));
  return made;
}

function outline(made, [left, top, width, height], [across, down], unit) {
  Object.assign(made.style, { left: left / across + unit, top: top / down + unit, width: width / across + unit, height: height / down + unit });
  return made;
}

function go(index) {
  if (!rows.length) return;
  const before = current;
  current = Math.min(rows.length - 1, Math.max(0, index));
  redraw(before);
  redraw(current);
  const line = HEIGHT + GAP, top = cards.getBoundingClientRect().top + Math.floor(current / columns) * line;
  const room = window.innerHeight - document.querySelector("footer").offsetHeight - 8;
  if (top < 8) window.scrollBy(0, top - 8);
  if (top + line > room) window.scrollBy(0, top + line - room);
  draw();
}

function redraw(index) {
  const card = drawn.get(index);
  if (!card) return;
  card.remove();
  drawn.delete(index);
  add(index);
}

function judge(label) {
  const row = rows[current];
  if (!row || !label) return;
  judged.set(row[ID], label);
  changed();
  go(current + 1);
  redraw(current);
}

function takeBack() {
  if (rows[current] && !judged.has(rows[current][ID])) go(current - 1); // the one that was just judged
  if (!rows[current] || !judged.delete(rows[current][ID])) return;
  changed();
  redraw(current);
}

function changed() {
  unsaved++;
  keep();
  say();
}

function say() {
  const found = all().filter((row) => judged.has(row[ID]));
  const wrong = found.filter((row) => judged.get(row[ID]) !== labelOf(row)).length;
  get("state").textContent = found.length
    ? `${found.length.toLocaleString("en")} judged, ${count(wrong, "label")} changed${unsaved ? "" : ", saved"}`
    : `${count(rows.length, "picture")} here; none judged yet`;
  get("save").disabled = !found.length;
}

const all = () => data.groups.flatMap((one) => one.rows);

function field(value) {
  const text = String(value);
  return `"${(/^[=+\-@\t\r]/.test(text) ? "'" + text : text).replaceAll('"', '""')}"`;
}

function save() {
  const names = ["file", "label", "labelled", "probability", "face", "box", "folder", "classes"];
  const lines = all().filter((row) => judged.has(row[ID])).map((row) => [
    row[FILE] || row[SHOWN], judged.get(row[ID]), labelOf(row), row[LABEL] < 0 ? "" : row[PROBABILITY],
    row[FACE] ?? "", row[AREA] ? row[AREA].join(" ") : "", data.folder, data.classes.join("/"),
  ]);
  const text = [names, ...lines].map((line) => line.map(field).join(",") + "\r\n").join("");
  const link = element("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  link.download = "corrections.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = 0;
  say();
}

function enlarge() {
  const row = rows[current];
  if (!row || row[CELL] < 0) return;
  const picture = get("original"), area = row[AREA];
  let address = "";
  try { address = data.address + (row[FILE] || row[SHOWN]).split("/").map(encodeURIComponent).join("/"); } catch { /* no UTF-8 */ }
  picture.onload = () => {
    get("outline").hidden = !area || !row[SIZE];
    if (!get("outline").hidden)
      outline(get("outline"), [area[0], area[1], area[2] - area[0], area[3] - area[1]], [row[SIZE][0] / 100, row[SIZE][1] / 100], "%");
  };
  get("outline").hidden = true;
  picture.src = address;
  get("caption").textContent = `${row[SHOWN]}: ${labelOf(row)} ${percent(row)}`;
  get("large").showModal();
}

function press(event) {
  if (event.key === "s" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); save(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, dialog, summary")) return;
  if (event.target.closest("button") && [" ", "Enter"].includes(event.key)) return;
  const row = rows[current], label = data.classes[keys.indexOf(event.key.toLowerCase())] ?? data.classes[Number(event.key) - 1];
  const actions = {
    ArrowRight: () => go(current + 1), ArrowLeft: () => go(current - 1),
    ArrowDown: () => go(current + columns), ArrowUp: () => go(current - columns),
    Home: () => go(0), End: () => go(rows.length - 1),
    Enter: () => judge(row && labelOf(row)), Backspace: takeBack, Delete: takeBack, " ": enlarge,
  };
  const action = label ? () => judge(label) : actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function button(text, key, action) {
  const made = element("button", "", text);
  made.type = "button";
  if (key) made.append(" ", element("kbd", "", key));
  made.addEventListener("click", action);
  return made;
}

function build() {
  get("about").textContent = data.about;
  get("next").textContent = "Then: " + data.next;
  data.groups.forEach((one, index) => get("groups").append(
    button(`${one.name} ${one.rows.length.toLocaleString("en")}`, "", () => { group = index; choose(); })));
  data.classes.forEach((name, label) => get("choices").append(button(name, keys[label], () => judge(name))));
  get("choices").append(button("right", "Enter", () => judge(rows[current] && labelOf(rows[current]))));
  get("choices").append(button("undo", "Backspace", takeBack));
  const help = [...data.classes.map((name, label) => [keys[label], `its label is ${name}`]), ["Enter", "its label is right"],
    ["Backspace", "take back"], ["← → ↑ ↓", "choose a picture"], ["Space", "show it large"], ["Ctrl + S", "save corrections.csv"]];
  help.forEach(([key, text]) => { const item = element("li"); item.append(element("kbd", "", key), " ", text); get("keys").append(item); });
}

build();
for (const id of ["which", "order"]) get(id).addEventListener("change", choose);
get("name").addEventListener("input", choose);
get("filters").addEventListener("submit", (event) => event.preventDefault());
get("save").addEventListener("click", save);
get("close").addEventListener("click", () => get("large").close());
get("large").addEventListener("keydown", (event) => { if (event.key === " " && event.target.id !== "close") get("large").close(); });
cards.addEventListener("click", (event) => { const card = event.target.closest(".card"); if (card) go(Number(card.dataset.index)); });
cards.addEventListener("dblclick", enlarge);
document.addEventListener("keydown", press);
let waiting = false;
addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}, { passive: true });
addEventListener("resize", layOut);
addEventListener("beforeunload", (event) => { if (unsaved && load().size !== judged.size) event.preventDefault(); });
choose();
