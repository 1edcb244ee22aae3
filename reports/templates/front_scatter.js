// Designs on two axes, each a mark that leads to its report or its row.
function drawScatter(box, designs, data, across, up, colorOf, named) {
  const width = Math.max(300, box.clientWidth);
  const height = Math.round(Math.min(460, Math.max(300, width * 0.5)));
  const [left, right, top, bottom] = [62, width - 14, 22, height - 44];
  const [x, y] = [data.axes[across], data.axes[up]];
  const shown = designs.filter((d) => d.figures[across] !== null && d.figures[up] !== null);
  const horizontal = scaleOf(shown.map((d) => d.figures[across]), x.log, left, right);
  const vertical = scaleOf(shown.map((d) => d.figures[up]), y.log, bottom, top);
  box.replaceChildren();
  const svg = made(box, "svg", { viewBox: `0 0 ${width} ${height}` });
  let last = -Infinity;
  for (const tick of horizontal.ticks) {
    const place = horizontal.at(tick);
    made(svg, "line", { class: "grid", x1: place, x2: place, y1: top, y2: bottom });
    if (place - last < 46) continue;
    last = place;
    made(svg, "text", { x: place, y: bottom + 17, "text-anchor": "middle" }, short(tick));
  }
  for (const tick of vertical.ticks) {
    const place = vertical.at(tick);
    made(svg, "line", { class: "grid", x1: left, x2: right, y1: place, y2: place });
    made(svg, "text", { x: left - 7, y: place + 4, "text-anchor": "end" }, short(tick));
  }
  made(svg, "text", { x: (left + right) / 2, y: height - 8, "text-anchor": "middle" }, labelOf(x));
  made(svg, "text", { x: 4, y: 13 }, labelOf(y));
  drawCorners(svg, shown, x, y, across, up, horizontal, vertical);
  // The front last, above the others.
  for (const design of [...shown].sort((a, b) => (a.rank === 1) - (b.rank === 1))) {
    const link = made(svg, "a", { href: design.page || `#run-${design.number}`, tabindex: -1 });
    link.dataset.number = design.number;
    const best = design.rank === 1;
    const color = colorOf(design);
    made(link, "circle", {
      class: "point",
      cx: horizontal.at(design.figures[across]),
      cy: vertical.at(design.figures[up]),
      r: best ? 6 : 4.5,
      stroke: color,
      fill: best ? color : "transparent",
    });
    made(link, "title", {}, `${design.number}: ${design.name}`);
    link.addEventListener("pointerenter", () => named(design));
    link.addEventListener("pointerleave", () => named(null));
  }
}

// The line through the designs that no other beats on these two axes alone.
function drawCorners(svg, shown, x, y, across, up, horizontal, vertical) {
  const loss = (axis, value) => (axis.most ? -value : value);
  const pairs = shown.map((d) => [d.figures[across], d.figures[up]]);
  pairs.sort((a, b) => loss(x, a[0]) - loss(x, b[0]) || loss(y, a[1]) - loss(y, b[1]));
  const corners = [];
  for (const pair of pairs) {
    if (!corners.length || loss(y, pair[1]) < loss(y, corners.at(-1)[1])) corners.push(pair);
  }
  let path = "";
  for (const [a, b] of corners) {
    const [px, py] = [horizontal.at(a), vertical.at(b)];
    path += path ? ` H ${px} V ${py}` : `M ${px} ${py}`;
  }
  if (corners.length > 1) made(svg, "path", { class: "corner", d: path });
}
