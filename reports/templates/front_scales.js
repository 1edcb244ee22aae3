// Figures to places on a drawing, and the ticks between them.
const SVG = "http://www.w3.org/2000/svg";

function made(parent, name, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

// From the least and the largest figure to two places; with a little room at both ends.
function scaleOf(figures, log, from, to) {
  const turned = log ? Math.log10 : (value) => value;
  let [low, high] = [Infinity, -Infinity];
  for (const value of figures) {
    low = Math.min(low, turned(value));
    high = Math.max(high, turned(value));
  }
  if (!(low <= high)) [low, high] = [0, 1];
  // Figures that differ in their last digits alone leave no room for ticks between them.
  const size = Math.max(Math.abs(low), Math.abs(high));
  const room = high - low <= 1e-9 * size ? size / 10 || 1 : (high - low) * 0.06;
  [low, high] = [low - room, high + room];
  const at = (value) => from + ((turned(value) - low) / (high - low)) * (to - from);
  const back = (place) => {
    const value = low + ((place - from) / (to - from)) * (high - low);
    return log ? 10 ** value : value;
  };
  return { at, back, ticks: log ? logTicks(10 ** low, 10 ** high) : linearTicks(low, high) };
}

function linearTicks(low, high) {
  const rough = (high - low) / 7;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let number = Math.ceil(low / step); number * step <= high; number += 1) {
    ticks.push(Number((number * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  const subs = high / low < 30 ? [1, 2, 3, 5, 7] : high / low < 3000 ? [1, 2, 5] : [1];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const sub of subs) {
      const tick = Number((sub * 10 ** power).toPrecision(12));
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks.length > 2 ? ticks : linearTicks(low, high); // less than an octave
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(4))} G`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))} M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))} k`;
  return String(Number(value.toPrecision(4)));
}

function labelOf(axis) {
  return axis.unit ? `${axis.title}, ${axis.unit}` : axis.title;
}
