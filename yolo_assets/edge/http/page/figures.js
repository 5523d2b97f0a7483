// Speed, processor, disk, archiver, and the accounting of every frame.

import { $, bytes, clock, element, plural, seconds, set, whole } from "./words.js";

const STAGES = { fewer_normal: "fewer pictures kept", records_only: "only pictures with a detection kept", no_images: "no pictures kept" };
const DROP_COLOURS = ["#ff5c5c", "#ffb224", "#b98bff", "#ff8fcf", "#ff9a3c"];

export function showFigures(now, names) {
  set($("fps"), now.fps.toFixed(now.fps < 10 ? 1 : 0));
  set($("fps-note"), plural(names.length, "camera"));
  const all = names.map((name) => now.cameras[name]);
  const highest = (field) => Math.max(...all.map((camera) => camera[field] ?? -1));
  const worst = highest("latency_ms_p99");
  const inference = highest("inference_ms_p50");
  set($("latency"), worst < 0 ? "–" : worst.toFixed(0));
  set($("latency-note"), worst < 0 ? " " : `median ${highest("latency_ms_p50").toFixed(0)} · model ${inference.toFixed(inference < 10 ? 1 : 0)}`);
  processor(now.machine);
  disk(now.spool);
  archiver(now.archiver, now.store);
  const gap = now.longest_gap;
  set($("gap"), `Longest silence of all cameras since ${clock(gap.since)}: ${seconds(gap.overall_s)}`);
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
      `${alarm.severity}: ${alarm.rule.replaceAll("_", " ")} on ${alarm.camera_id} since ${clock(alarm.since)}`)));
  }
  const parts = it ? it.outputs : [];
  $("outputs").hidden = !parts.length;
  set($("outputs"), parts.map((part) => `Output ${part.name}: ${part.error || `${whole(part.delivered)} delivered, ${whole(part.waiting)} waiting`}`).join(" · "));
}

function level(id, share, kind) {
  $(`${id}-level`).style.width = `${Math.round(Math.min(1, share ?? 0) * 100)}%`;
  $(`${id}-figure`).className = `figure ${kind}`;
}

function processor(machine) {
  set($("cpu"), machine.box === null ? "–" : (machine.box * 100).toFixed(0));
  const notes = [machine.agent === null ? null : `agent ${(machine.agent * 100).toFixed(0)} %`, `memory ${bytes(machine.memory)}`];
  for (const gpu of machine.gpus) if (gpu.used !== null) notes.push(`GPU ${(gpu.used * 100).toFixed(0)} %`);
  set($("cpu-note"), notes.filter(Boolean).join(" · "));
  level("cpu", machine.box, machine.box > 0.95 ? "warn" : "");
}

function disk(spool) {
  const used = spool.disk_used;
  set($("disk"), used === null ? "–" : (used * 100).toFixed(0));
  const stage = spool.stage || "normal";
  const word = stage === "normal" ? "" : STAGES[stage] || stage.replaceAll("_", " ");
  set($("disk-note"), [word, `spool ${bytes(spool.bytes)}`].filter(Boolean).join(" · "));
  level("disk", used, spool.trouble || stage === "no_images" ? "bad" : word ? "warn" : "");
}

function archiver(it, store) {
  let [kind, word, note] = ["", "none", "none has run on this device"];
  if (it) {
    const age = it.last_round_age_s;
    const waiting = it.waiting ? `${plural(it.waiting, "hour")} waiting · ${bytes(it.backlog_bytes)}` : "nothing waits";
    if (age === null || age > 1800) [kind, word] = ["bad", "silent"];
    else [kind, word] = it.waiting ? ["warn", "behind"] : ["good", "up to date"];
    note = `${waiting}${age === null ? "" : ` · looked ${seconds(age)} ago`}`;
  }
  if (store.error) note = `store unreachable · ${note}`;
  set($("archiver"), word);
  set($("archiver-note"), note);
  $("archiver-figure").className = `figure ${kind}`;
}

function books(now, names) {
  const rows = names.map((name) => [name, now.cameras[name]]);
  if (names.length > 1) rows.push(["all cameras", now.totals]);
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
  const sum = element("div", "sum", element("span", "", element("b", "", whole(it.processed)), " processed"));
  for (const [reason, n] of drops) sum.append(element("span", "", element("b", "", whole(n)), ` dropped: ${reason.replaceAll("_", " ")}`));
  sum.append(element("span", "", element("b", "", whole(it.in_flight)), " in flight"));
  const verdict = element("span", it.balanced ? "" : "wrong", it.balanced ? `= ${whole(it.captured)} captured ✓` : `≠ ${whole(it.captured)} captured ✕ report this`);
  return element("div", "book", element("header", "", element("span", "", name), verdict), stack, sum);
}
