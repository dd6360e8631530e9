/** Small plots of a few minutes, in SVG. */

import { element, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 100;

/**
 * A plot of lines over the same times. `lines` are lists of numbers, null where there is none;
 * `written` says how a number is written, `span` what the width stands for.
 */
export function plot(title, lines, { written, legend, span }) {
  const known = lines.flat().filter((value) => value !== null);
  const most = Math.max(...known, 0);
  const top = most || 1;
  const say = most ? `at most ${written(most)}` : "nothing yet";
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${say}` },
    svg("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
    ...lines.flatMap((values, place) => runs(values, top).flatMap((points) => drawn(points, place))));
  return element("figure", { class: "plot" },
    element("figcaption", {}, element("strong", { text: title }), element("span", { text: legend ? `${legend} · ${say}` : say })),
    picture,
    element("div", { class: "span", "aria-hidden": "true" }, element("span", { text: `${span} ago` }), element("span", { text: "now" })));
}

/** Points of what hangs together: a gap in the numbers is a gap in the line. */
function runs(values, top) {
  const found = [];
  let run = null;
  values.forEach((value, place) => {
    if (value === null) run = null;
    else {
      if (!run) found.push((run = []));
      run.push([(place / Math.max(1, values.length - 1)) * WIDTH, HEIGHT - 1 - (value / top) * (HEIGHT - 6)]);
    }
  });
  return found;
}

function drawn(points, place) {
  if (points.length === 1) points = [[points[0][0] - 1.5, points[0][1]], [points[0][0] + 1.5, points[0][1]]];
  const path = points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
  const area = `M${points[0][0].toFixed(1)} ${HEIGHT}L${path}L${points.at(-1)[0].toFixed(1)} ${HEIGHT}Z`;
  const line = svg("path", { class: place ? "line second" : "line", d: `M${path}` });
  return place ? [line] : [svg("path", { class: "area", d: area }), line];
}
