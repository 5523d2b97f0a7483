// Who changed what: lines of the audit log, with what was measured where this run measured it.

import { get } from "./http.js";
import { $, element, set } from "./elements.js";
import { clock, day, number, said, seconds, t, word } from "./texts.js";

const STEP_COLOURS = { read: "--s-read", fetch: "--s-fetch", compare: "--s-compare", load: "--s-load", warm: "--s-warm", golden: "--s-golden", shadow: "--s-shadow" };
const MARKS = { committed: "✓", switched: "▲", rolled_back: "↺", reverted: "↺", refused: "✕", failed: "!", pinned: "■", unpinned: "□", recovered: "!", changed: "✎" };
const SHOWN = 40;
const OF_PEOPLE = ["recovered", "model", "pin", "unpin", "people", "settings", "mask"];
const BATCHES = 10; // of the newest: on some lines one comes every few minutes
let lines = [];
let read = "";
let shown = "";

export async function showHistory(now) {
  const audit = now.audit;
  const mark = `${audit.log_id}/${audit.lines}`;
  if (mark !== read) {
    const kinds = OF_PEOPLE.map((kind) => `&kind=${kind}`).join("");
    const both = [await get(`/v1/audit?limit=${SHOWN}${kinds}`, 5), await get(`/v1/audit?limit=${BATCHES}&kind=lot`, 5)];
    lines = both.flat().sort((a, b) => a.sequence - b.sequence);
    read = mark;
  }
  const trouble = audit.trouble || (audit.ship_error ? t("changes.ship_error", { why: said(audit.ship_error) }) : "");
  const waiting = audit.lines - audit.shipped;
  set($("audit-note"), [t("changes.lines", { n: audit.lines }), waiting ? t("changes.waiting", { n: waiting }) : t("changes.all_stored"), trouble].filter(Boolean).join(" · "));
  const key = mark + JSON.stringify(now.swaps);
  if (key === shown) return;
  shown = key;
  const measured = new Map(now.swaps.map((swap) => [`${swap.at} ${swap.target}`, swap]));
  const items = [...lines].reverse().slice(0, SHOWN).map((line) => item(line, measured.get(`${line.at} ${line.target}`)));
  $("history").replaceChildren(...(items.length ? items : [element("li", "empty", t("changes.none"))]));
}

function item(line, swap) {
  const from = line.source && line.source !== line.target ? `${line.source} → ` : "";
  const to = line.target || (line.source && line.result === "changed" ? t("changes.nothing") : "");
  const time = element("time", "", clock(line.at));
  const what = line.result === "changed" ? word("kind", line.kind) : word("result", line.result);
  time.dateTime = line.at;
  time.title = day(line.at);
  const head = element("div", "head", element("span", "what", what), element("span", "", from + to), time);
  const body = element("div", "", head, element("p", "reason", t("changes.reason", { reason: said(line.reason), who: said(line.who) })));
  if (swap) body.append(...bars(Object.entries(swap.steps).filter(([, spent]) => spent > 0)), facts(swap));
  const symbol = element("span", "mark", MARKS[line.result] || "■");
  symbol.setAttribute("aria-hidden", "true");
  return element("li", line.result, symbol, body);
}

function facts(swap) {
  const made = element("div", "facts");
  const fact = (value, text) => made.append(element("span", "", element("b", "", value), t(text)));
  fact(seconds(swap.seconds), "fact.total");
  if (swap.switch_seconds !== null) fact(seconds(swap.switch_seconds), "fact.switch");
  if (swap.first_result_seconds !== null) fact(seconds(swap.first_result_seconds), "fact.first_result");
  if (swap.in_flight_at_switch !== null) fact(number(swap.in_flight_at_switch), "fact.in_flight");
  if (swap.lost !== null) fact(number(swap.lost), "fact.lost");
  const gaps = Object.values(swap.longest_gap_seconds).filter((gap) => gap > 0);
  if (gaps.length) fact(seconds(Math.max(...gaps)), "fact.silence");
  return made;
}

function bars(steps) {
  if (!steps.length) return [];
  const painted = (name, grow) => {
    const bar = element("i");
    if (grow) bar.style.flexGrow = grow;
    bar.style.background = `var(${STEP_COLOURS[name] || "--faint"})`;
    return bar;
  };
  const stack = element("div", "stack", ...steps.map(([name, spent]) => painted(name, spent * 1e6)));
  stack.setAttribute("aria-hidden", "true");
  const long = steps.filter(([, spent]) => spent >= 0.0005);
  return [stack, element("div", "steps", ...long.map(([name, spent]) => element("span", "", painted(name), t("step", { step: word("step", name), time: seconds(spent) }))))];
}
