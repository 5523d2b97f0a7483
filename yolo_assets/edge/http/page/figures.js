// Speed, processor, disk, archiver, and the accounting of every frame.

import { $, element, set } from "./elements.js";
import { bytes, clock, number, percent, said, seconds, t, word } from "./texts.js";

const DROP_COLOURS = ["#ff5c5c", "#ffb224", "#b98bff", "#ff8fcf", "#ff9a3c"];

export function showFigures(now, names) {
  set($("fps"), number(now.fps, now.fps < 10 ? 1 : 0));
  set($("fps-note"), t("fps.cameras", { n: names.length }));
  const all = names.map((name) => now.cameras[name]);
  const highest = (field) => Math.max(...all.map((camera) => camera[field] ?? -1));
  const worst = highest("latency_ms_p99");
  const inference = highest("inference_ms_p50");
  set($("latency"), worst < 0 ? "–" : number(worst));
  set($("latency-note"), worst < 0 ? " " : t("latency.note", { median: highest("latency_ms_p50"), model: number(inference, inference < 10 ? 1 : 0) }));
  processor(now.machine);
  disk(now.spool);
  archiver(now.archiver, now.store);
  const gap = now.longest_gap;
  set($("gap"), t("frames.gap", { time: clock(gap.since), age: seconds(gap.overall_s) }));
  books(now, names);
  outputs(now.outputs);
}

function outputs(it) {
  const alarms = it ? it.alarms : [];
  $("standing").hidden = !alarms.length;
  const key = JSON.stringify(alarms.map((alarm) => alarm.alarm_id));
  if ($("standing").dataset.key !== key) {
    $("standing").dataset.key = key;
    $("standing").replaceChildren(...alarms.map((alarm) => element("li", alarm.severity,
      t("alarm", { severity: word("severity", alarm.severity), rule: alarm.rule.replaceAll("_", " "), camera: alarm.camera_id, time: clock(alarm.since) }))));
  }
  const parts = it ? it.outputs : [];
  $("outputs").hidden = !parts.length;
  set($("outputs"), parts.map((part) => part.error
    ? t("output.error", { name: part.name, why: said(part.error) })
    : t("output", { name: part.name, delivered: part.delivered, waiting: part.waiting })).join(" · "));
}

function level(id, share, kind) {
  $(`${id}-level`).style.width = `${Math.round(Math.min(1, share ?? 0) * 100)}%`;
  $(`${id}-figure`).className = `figure ${kind}`;
}

function processor(machine) {
  set($("cpu"), machine.box === null ? "–" : number(machine.box * 100));
  const notes = [machine.agent === null ? null : t("cpu.agent", { share: percent(machine.agent) }), t("cpu.memory", { size: bytes(machine.memory) })];
  for (const gpu of machine.gpus) if (gpu.used !== null) notes.push(t("cpu.gpu", { share: percent(gpu.used) }));
  set($("cpu-note"), notes.filter(Boolean).join(" · "));
  level("cpu", machine.box, machine.box > 0.95 ? "warn" : "");
}

function disk(spool) {
  const used = spool.disk_used;
  set($("disk"), used === null ? "–" : number(used * 100));
  const stage = spool.stage || "normal";
  const given = stage === "normal" ? "" : word("stage", stage);
  set($("disk-note"), [given, t("disk.spool", { size: bytes(spool.bytes) })].filter(Boolean).join(" · "));
  level("disk", used, spool.trouble || stage === "no_images" ? "bad" : given ? "warn" : "");
}

function archiver(it, store) {
  let [kind, state, note] = ["", "none", t("archiver.never")];
  if (it) {
    const age = it.last_round_age_s;
    const waiting = it.waiting ? t("archiver.waiting", { n: it.waiting, size: bytes(it.backlog_bytes) }) : t("archiver.nothing");
    if (age === null || age > 1800) [kind, state] = ["bad", "silent"];
    else [kind, state] = it.waiting ? ["warn", "behind"] : ["good", "up_to_date"];
    note = [waiting, age === null ? null : t("archiver.looked", { age: seconds(age) })].filter(Boolean).join(" · ");
  }
  if (store.error) note = `${t("archiver.unreachable")} · ${note}`;
  set($("archiver"), t(`archiver.${state}`));
  set($("archiver-note"), note);
  $("archiver-figure").className = `figure ${kind}`;
}

function books(now, names) {
  const rows = names.map((name) => [name, now.cameras[name]]);
  if (names.length > 1) rows.push([t("frames.all"), now.totals]);
  $("books").replaceChildren(...rows.map(([name, it]) => book(name, it)));
}

function book(name, it) {
  const drops = Object.entries(it.dropped).sort((a, b) => b[1] - a[1]);
  const stack = element("div", "stack");
  stack.setAttribute("aria-hidden", "true");
  const part = (n, colour) => {
    if (!n) return;
    const bar = element("i");
    bar.style.flexGrow = n;
    bar.style.background = colour;
    stack.append(bar);
  };
  part(it.processed, "var(--good)");
  drops.forEach(([, n], i) => part(n, DROP_COLOURS[i % DROP_COLOURS.length]));
  part(it.in_flight, "var(--accent)");
  const sum = element("div", "sum", element("span", "", element("b", "", number(it.processed)), t("frames.processed")));
  for (const [reason, n] of drops) sum.append(element("span", "", element("b", "", number(n)), t("frames.dropped", { reason: word("drop", reason) })));
  sum.append(element("span", "", element("b", "", number(it.in_flight)), t("frames.in_flight")));
  const verdict = element("span", it.balanced ? "" : "wrong", t(it.balanced ? "frames.balanced" : "frames.wrong", { n: it.captured }));
  return element("div", "book", element("header", "", element("span", "", name), verdict), stack, sum);
}
