{
  const rows = [...document.getElementById("ops").tBodies[0].rows];
  const text = document.getElementById("filter-text");
  const kind = document.getElementById("filter-kind");
  const shown = document.getElementById("shown");

  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const fits = row.cells[0].textContent.toLowerCase().includes(wanted);
      row.hidden = !(fits && (kind.value === "" || row.dataset.kind === kind.value));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} ops`;
  };

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
}
