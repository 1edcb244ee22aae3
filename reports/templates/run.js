"use strict";
const table = document.getElementById("ops");
const body = table.tBodies[0];
const rows = [...body.rows];
const text = document.getElementById("filter-text");
const kind = document.getElementById("filter-kind");
const shown = document.getElementById("shown");

// A <data> element holds the exact figure of layers.csv; plain cells hold it with separators.
function key(row, column) {
  const cell = row.cells[column];
  const exact = cell.querySelector("data");
  const value = exact ? exact.value : cell.textContent.trim().replaceAll(",", "");
  if (value === "" || value === "\u2014") return null;
  return Number.isNaN(Number(value)) ? value : Number(value);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(header) {
  const column = header.cellIndex;
  const falling = header.getAttribute("aria-sort") === "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const keyed = rows.map((row) => [key(row, column), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // nothing: always last
    return falling ? compare(b, a) : compare(a, b);
  });
  body.append(...keyed.map(([, row]) => row));
}

function filter() {
  const wanted = text.value.trim().toLowerCase();
  let count = 0;
  for (const row of rows) {
    const fits = row.cells[0].textContent.toLowerCase().includes(wanted);
    row.hidden = !(fits && (kind.value === "" || row.dataset.kind === kind.value));
    count += !row.hidden;
  }
  shown.textContent = `${count} of ${rows.length} ops`;
}

for (const button of table.tHead.querySelectorAll("button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
text.addEventListener("input", filter);
kind.addEventListener("change", filter);
// A link to an op must reach it, whatever is filtered away.
window.addEventListener("hashchange", () => {
  if (location.hash.startsWith("#op-")) text.value = kind.value = "";
  filter();
  document.querySelector(":target")?.scrollIntoView({ block: "center" });
});
filter();
document.getElementById("tools").hidden = false;
