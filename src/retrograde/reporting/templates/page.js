"use strict";
// The page reads as well without this: it sorts and filters the rows of tables, and compares strategies.
const value = (row, column) => row.cells[column].textContent.trim();
const number = text => { const found = text.match(/^[-+−<]?\s*[\d.]+(e[-+]?\d+)?/i); return found ? parseFloat(found[0].replace(/[<\s]/g, "").replace("−", "-")) : NaN; };

// Each row with those that belong to it, such as published numbers.
function grouped(table) {
  const groups = [];
  for (const row of table.tBodies[0].rows) value(row, 0).startsWith("– ") && groups.length ? groups.at(-1).push(row) : groups.push([row]);
  return groups;
}

function sort(table, column) {
  const heads = table.tHead.rows[0].cells, head = heads[column];
  const groups = grouped(table), rows = groups.map(group => group[0]), numeric = rows.some(row => !isNaN(number(value(row, column))));
  const [first, second] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
  const direction = head.getAttribute("aria-sort") === first ? second : first;
  for (const each of heads) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  groups.sort(([a], [b]) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (!numeric) return sign * x.localeCompare(y, "en", {numeric: true});
    const [m, n] = [number(x), number(y)];
    return isNaN(m) || isNaN(n) ? isNaN(m) - isNaN(n) : sign * (m - n); // what is no number comes last
  });
  table.tBodies[0].append(...groups.flat());
}

function matches(text, wanted) {
  const bound = wanted.match(/^([<>])\s*(-?[\d.]+)$/);
  if (!bound) return wanted.toLowerCase().split(/\s+/).every(word => text.toLowerCase().includes(word));
  return bound[1] === ">" ? number(text) > parseFloat(bound[2]) : number(text) < parseFloat(bound[2]);
}

function filter(table, inputs, found) {
  const rows = [...table.tBodies[0].rows];
  for (const group of grouped(table)) {
    const fits = inputs.every((input, column) => !input.value.trim() || matches(value(group[0], column), input.value.trim()));
    for (const row of group) row.hidden = !fits;
  }
  found.textContent = `${rows.filter(row => !row.hidden && !row.classList.contains("unchosen")).length} of ${rows.length} rows`;
}

const recount = []; // functions that count the rows of filtered tables anew

function compare(boxes, status) {
  const chosen = boxes.filter(box => box.checked).map(box => box.value), address = new URL(location.href);
  for (const row of document.querySelectorAll("tr[data-row]")) row.classList.toggle("unchosen", chosen.length > 0 && !chosen.includes(row.dataset.row));
  for (const table of document.querySelectorAll("table:has(tr[data-row])")) {
    const rows = [...table.tBodies[0].rows], none = rows.every(row => row.classList.contains("unchosen"));
    table.toggleAttribute("data-none", none);
  }
  status.textContent = chosen.length ? `${chosen.length} of ${boxes.length} strategies. Figures show all.` : "All strategies.";
  chosen.length ? address.searchParams.set("compare", chosen.join(" ")) : address.searchParams.delete("compare");
  history.replaceState(null, "", address);
  for (const each of recount) each();
}

for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], names = heads.map(head => head.textContent);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column));
    head.append(button);
  });
  if (!("filters" in table.dataset)) continue;
  const found = document.createElement("p"), line = table.tHead.insertRow();
  found.className = "found";
  found.setAttribute("role", "status");
  const inputs = names.map(name => {
    const cell = document.createElement("td"), input = document.createElement("input");
    input.setAttribute("aria-label", `Filter by ${name}: words, or > or < and a number`);
    input.placeholder = "filter";
    input.title = "words, or > or < and a number";
    input.size = 6;
    cell.append(input);
    line.append(cell);
    return input;
  });
  for (const input of inputs) input.addEventListener("input", () => filter(table, inputs, found));
  table.closest(".scroll").before(found);
  recount.push(() => filter(table, inputs, found));
}

const choice = document.getElementById("compare"), form = choice.querySelector("form"), boxes = [...form.querySelectorAll("input")];
const status = form.querySelector("[role=status]"), given = (new URL(location.href).searchParams.get("compare") ?? "").split(" ");
choice.hidden = boxes.length < 2;
for (const box of boxes) box.checked = given.includes(box.value);
form.addEventListener("change", () => compare(boxes, status));
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => compare(boxes, status))); // the boxes are cleared after this event
choice.addEventListener("keydown", event => {
  if (event.key !== "Escape") return;
  choice.open = false;
  choice.querySelector("summary").focus();
});
compare(boxes, status);

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => { for (const each of closed) each.open = false; });
