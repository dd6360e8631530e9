/** What the server is at, asked for every two seconds while it is looked at. */

import { json, Refused } from "./api.js";
import { element, find, tell } from "./dom.js";
import { plot } from "./plots.js";

const EVERY = 2000;

export class Dashboard {
  constructor(refused) {
    this.refused = refused;
    this.timer = null;
    this.looking = false;
  }

  run(looking) {
    this.looking = looking;
    clearTimeout(this.timer);
    if (looking) this.look();
  }

  async look() {
    clearTimeout(this.timer);
    try {
      const seen = await json("/v1/monitor");
      if (!this.looking) return;
      draw(seen);
      tell(find("dashboard-problem"), null);
    } catch (error) {
      if (!this.looking) return;
      const status = error instanceof Refused ? error.status : 0;
      if (status === 401) return this.refused(error.message);
      const help = status === 403 ? " Make a key with --scope metrics beside the others." : "";
      tell(find("dashboard-problem"), error.message + help);
      if (status === 403) return;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), EVERY);
  }
}

function draw(seen) {
  find("alerts").replaceChildren(...alerts(seen.alerts));
  find("tiles").replaceChildren(...tiles(seen));
  find("plots").replaceChildren(...plots(seen.series, seen.window_seconds));
  find("tables").replaceChildren(...tables(seen));
}

/** Seconds, as short as they can be read; nothing measured is a dash. */
export function seconds(value) {
  if (value === null) return "–";
  if (value < 1) return `${(value * 1000).toPrecision(value < 0.1 ? 2 : 3).replace(/\.0+$/, "")} ms`;
  return `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

const count = (value) => (value >= 1e6 ? `${(value / 1e6).toFixed(1)}M` : value.toLocaleString("en"));
const rate = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(value && value < 0.1 ? 1 : 0)} %`);
const bytes = (value) => (value >= 2 ** 30 ? `${(value / 2 ** 30).toFixed(2)} GiB` : `${(value / 2 ** 20).toFixed(0)} MiB`);
const spread = ({ p95, p99 }) => `p95 ${seconds(p95)} · p99 ${seconds(p99)}`;
const sum = (models, what) => models.reduce((all, model) => all + model[what], 0);

function tiles({ requests, tokens, first_token_seconds: first, inter_token_seconds: inter, latency_seconds: latency, memory, models }) {
  const tile = (name, value, note) => element("dl", { class: "tile" }, element("dt", { text: name }), element("dd", { text: value }), element("dd", { text: note }));
  return [
    tile("Tokens a second", rate(tokens.generated_per_second), `${count(tokens.generated)} written · ${count(tokens.prompt)} read`),
    tile("Requests", count(requests.count), `${rate(60 * requests.per_second)} a minute`),
    tile("First token, p50", seconds(first.p50), spread(first)),
    tile("Between tokens, p50", seconds(inter.p50), spread(inter)),
    tile("Whole answers, p50", seconds(latency.p50), spread(latency)),
    tile("Running", String(sum(models, "running")), `${sum(models, "waiting")} waiting · ${sum(models, "lanes")} places`),
    tile("Errors", percent(requests.error_rate), `${requests.failed} failed · ${requests.refused} refused`),
    tile("Memory", bytes(memory.resident_bytes), `at most ${bytes(memory.peak_bytes)} · of ${bytes(memory.machine_bytes)}`),
  ];
}

function plots(series, window) {
  const of = (name) => series.map((slot) => slot[name]);
  const span = window >= 120 ? `${Math.round(window / 60)} min` : `${Math.round(window)} s`;
  return [
    plot("Tokens a second", [of("tokens_per_second")], { written: rate, span }),
    plot("Time to first token", [of("first_token_p95")], { written: seconds, legend: "p95", span }),
    plot("Between tokens", [of("inter_token_p95")], { written: seconds, legend: "p95", span }),
    plot("Requests a minute", [of("requests_per_minute")], { written: rate, span }),
    plot("Running and waiting", [of("running"), of("waiting")], { written: rate, legend: "waiting green", span }),
    plot("Memory", [of("resident_bytes")], { written: bytes, span }),
  ];
}

function alerts(list) {
  const awake = list.filter(({ state }) => state !== "ok");
  if (!awake.length) return [element("p", { class: "alert", text: `All is well: ${list.length} alerts watch, none is raised.` })];
  return awake.map(({ state, name, message }) => element("p", { class: `alert ${state}` }, element("strong", { text: name }), ` ${state === "firing" ? "" : "(for a moment) "}${message}`));
}

function tables({ usage, models, quality }) {
  const keys = usage.map((k) => [k.name, count(k.requests), count(k.prompt_tokens), count(k.cached_tokens), count(k.completion_tokens), count(k.errors)]);
  const loads = models.map((m) => [m.id, m.running, m.waiting, m.lanes]);
  const scores = quality.map((q) => [q.model, q.respect, q.mean.toFixed(2), count(q.count), q.method]);
  return [
    table("Use of each key", ["Key", "Requests", "Tokens read", "of which cached", "Tokens written", "Errors"], keys),
    table("Models", ["Model", "Running", "Waiting", "Places"], loads),
    table("Quality of sampled answers, from 0 to 1", ["Model", "Respect", "Mean", "Answers", "Method"], scores),
  ].flat();
}

/** A table in a list, which is empty where there are no rows. */
function table(caption, names, rows) {
  if (!rows.length) return [];
  const line = (cells, tag) => element("tr", {}, ...cells.map((text) => element(tag, { text, ...(tag === "th" ? { scope: "col" } : {}) })));
  return [element("div", { class: "table" }, element("table", {}, element("caption", { text: caption }), element("thead", {}, line(names, "th")), element("tbody", {}, ...rows.map((cells) => line(cells, "td")))))];
}
