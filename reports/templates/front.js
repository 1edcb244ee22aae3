// The two plots and the table, which show the same designs.
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const ranges = new Map();
  const rows = new Map(data.designs.map((d) => [d.number, by(`run-${d.number}`)]));
  const known = by("named").textContent;

  data.axes.forEach((axis, at) => {
    by("across").add(new Option(labelOf(axis), at));
    by("up").add(new Option(labelOf(axis), at));
  });
  by("across").value = data.axes.length > 1 ? 1 : 0;
  by("up").value = 0;

  const ofSet = () => {
    const wanted = by("set") ? Number(by("set").value) : 0;
    return data.designs.filter((d) => d.set === wanted);
  };
  const inRanges = (design) =>
    [...ranges].every(([name, [low, high]]) => {
      const value = design.figures[data.axes.findIndex((axis) => axis.name === name)];
      return value !== null && value >= low && value <= high;
    });
  const colors = () => {
    const key = by("color").value;
    const names = [...new Set(data.designs.map((d) => d.told[key] ?? ""))];
    const colorOf = (design) => data.colors[names.indexOf(design.told[key] ?? "") % data.colors.length];
    return { names, colorOf };
  };
  const named = (design) => {
    for (const mark of document.querySelectorAll("#plots [data-number]")) {
      mark.classList.toggle("over", design !== null && mark.dataset.number === String(design.number));
    }
    if (design === null) return;
    const figures = data.axes.map((axis, at) => `${axis.title} ${design.texts[at]} ${axis.unit}`);
    by("named").textContent =
      `${design.number}: ${design.name}, rank ${design.rank}; ${figures.slice(0, data.chosen).join("; ")}`;
  };

  const scatter = () => {
    const [across, up] = [Number(by("across").value), Number(by("up").value)];
    drawScatter(by("scatter"), ofSet().filter(inRanges), data, across, up, colors().colorOf, named);
  };
  const narrowed = () => {
    const all = ofSet();
    const kept = new Set(all.filter(inRanges).map((d) => d.number));
    for (const line of document.querySelectorAll("#parallel .line")) {
      line.classList.toggle("gone", !kept.has(Number(line.dataset.number)));
    }
    for (const design of data.designs) {
      rows.get(design.number).hidden = ranges.size > 0 && !kept.has(design.number);
    }
    by("kept").textContent = `${kept.size} of ${all.length} designs`;
    by("clear").hidden = ranges.size === 0;
    scatter();
  };
  const draw = () => {
    const { names, colorOf } = colors();
    drawParallel(by("parallel"), ofSet(), data, ranges, colorOf, named, narrowed);
    by("legend").replaceChildren(
      ...names.map((name, at) => {
        const entry = document.createElement("span");
        const dot = document.createElement("span");
        dot.className = "dot";
        dot.style.background = data.colors[at % data.colors.length];
        entry.append(dot, name);
        return entry;
      }),
    );
    by("legend").hidden = names.length < 2;
    narrowed();
  };

  for (const id of ["across", "up"]) by(id).addEventListener("change", scatter);
  for (const id of ["set", "color"]) by(id)?.addEventListener("change", draw);
  by("clear").addEventListener("click", () => {
    ranges.clear();
    draw();
  });
  // What a link leads to is shown, whatever is filtered away.
  window.addEventListener("hashchange", () => {
    ranges.clear();
    draw();
    document.querySelector(":target")?.scrollIntoView({ block: "center" });
  });
  window.addEventListener("resize", draw);
  if (data.sets.length) {
    by("plots").hidden = false;
    by("named").textContent = known;
    draw();
  }
}
