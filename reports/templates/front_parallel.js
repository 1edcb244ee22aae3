// A line for each design through all axes, the better end of each at the top.
function drawParallel(box, designs, data, ranges, colorOf, named, changed) {
  const height = 330;
  const [top, bottom] = [58, height - 24];
  const used = data.axes.map((_, at) => at).filter((at) => designs.some((d) => d.figures[at] !== null));
  const width = Math.max(box.clientWidth, 20 + 104 * used.length);
  const gap = (width - 120) / Math.max(1, used.length - 1);
  const places = used.map((_, order) => 60 + order * gap);
  const scales = used.map((at) => {
    const figures = designs.map((d) => d.figures[at]).filter((value) => value !== null);
    const ends = data.axes[at].most ? [bottom, top] : [top, bottom];
    return scaleOf(figures, data.axes[at].log, ...ends);
  });
  box.replaceChildren();
  const svg = made(box, "svg", { viewBox: `0 0 ${width} ${height}` });
  svg.style.minWidth = `${width}px`; // it scrolls in its box
  for (const design of [...designs].sort((a, b) => (a.rank === 1) - (b.rank === 1))) {
    let path = "";
    used.forEach((at, order) => {
      const value = design.figures[at];
      if (value === null) return;
      const before = order > 0 && design.figures[used[order - 1]] !== null;
      path += `${before ? "L" : "M"} ${places[order]} ${scales[order].at(value)} `;
    });
    const line = made(svg, "path", { d: path, stroke: colorOf(design), class: "line" });
    line.classList.toggle("beaten", design.rank !== 1);
    line.dataset.number = design.number;
    made(line, "title", {}, `${design.number}: ${design.name}`);
    line.addEventListener("pointerenter", () => named(design));
    line.addEventListener("pointerleave", () => named(null));
  }
  used.forEach((at, order) => {
    const axis = data.axes[at];
    const x = places[order];
    made(svg, "line", { class: "axis", x1: x, x2: x, y1: top, y2: bottom });
    for (const tick of scales[order].ticks) {
      made(svg, "text", { x: x + 5, y: scales[order].at(tick) + 4 }, short(tick));
    }
    const anchor = order === 0 ? "start" : order === used.length - 1 ? "end" : "middle";
    const edge = order === 0 ? x - 56 : order === used.length - 1 ? x + 56 : x;
    const weight = at < data.chosen ? 600 : 400;
    const words = axis.title.split(" ");
    const half = Math.ceil(words.length / 2);
    [words.slice(0, half), words.slice(half)].forEach((part, row) => {
      const at_ = { x: edge, y: 13 + 14 * row, "text-anchor": anchor, "font-weight": weight };
      made(svg, "text", at_, part.join(" "));
    });
    made(svg, "text", { x: edge, y: 41, "text-anchor": anchor }, axis.unit ? `(${axis.unit})` : "");
    brushOf(svg, axis.name, x, top, bottom, scales[order], ranges, changed);
  });
}

// A part of an axis, chosen by dragging along it; a click without a drag takes it away.
function brushOf(svg, name, x, top, bottom, scale, ranges, changed) {
  const box = made(svg, "rect", { class: "range", x: x - 9, width: 18, y: top, height: 0 });
  const grip = made(svg, "rect", { class: "grip", x: x - 14, width: 28, y: top - 6, height: bottom - top + 12 });
  grip.dataset.axis = name;
  const show = () => {
    const range = ranges.get(name);
    const ends = range ? range.map(scale.at) : [top, top];
    box.setAttribute("y", Math.min(...ends));
    box.setAttribute("height", Math.abs(ends[1] - ends[0]));
    box.style.display = range ? "" : "none";
  };
  const placeOf = (event) => {
    const frame = svg.getBoundingClientRect();
    const y = ((event.clientY - frame.top) / frame.height) * svg.viewBox.baseVal.height;
    return Math.min(bottom + 6, Math.max(top - 6, y));
  };
  let start = null;
  grip.addEventListener("pointerdown", (event) => {
    start = placeOf(event);
    grip.setPointerCapture(event.pointerId);
  });
  grip.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const end = placeOf(event);
    if (Math.abs(end - start) < 3) ranges.delete(name);
    else ranges.set(name, [scale.back(start), scale.back(end)].sort((a, b) => a - b));
    show();
    changed();
  });
  grip.addEventListener("pointerup", (event) => {
    if (start !== null && Math.abs(placeOf(event) - start) < 3) ranges.delete(name);
    start = null;
    show();
    changed();
  });
  show();
}
