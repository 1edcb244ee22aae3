"use strict";
// A <data> element holds the exact figure of the record; plain cells hold it with separators.
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
  const body = header.closest("table").tBodies[0];
  const falling = header.getAttribute("aria-sort") === "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const keyed = [...body.rows].map((row) => [key(row, column), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // nothing: always last
    return falling ? compare(b, a) : compare(a, b);
  });
  body.append(...keyed.map(([, row]) => row));
}

for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
