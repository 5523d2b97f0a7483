"use strict";
// The live page of one agent. Nothing is loaded from elsewhere, nothing is kept but the theme and, for this tab, the token.

const $ = (id) => document.getElementById(id);
const tiles = new Map();
const STEP_COLOURS = { read: "--s-read", fetch: "--s-fetch", compare: "--s-compare", load: "--s-load", warm: "--s-warm", golden: "--s-golden" };
const RESULT = { committed: ["✓", "serves"], rolled_back: ["↺", "rolled back"], refused: ["✕", "refused"], failed: ["!", "failed"] };
const LABELS = 12;
const DROP_COLOURS = ["#ff5c5c", "#ffb224", "#b98bff", "#ff8fcf", "#ff9a3c"];
let status = null;
let readySeconds = 10;

const headers = () => {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
};

async function get(path, signal) {
  const answer = await fetch(path, { headers: headers(), cache: "no-store", signal });
  if (answer.status === 401) askToken("This page is opened from another machine", "Reading needs the token too.", "Open", async () => refresh());
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
}

const element = (tag, className, ...children) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};
const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const whole = (value) => Math.round(value).toLocaleString("en");
const clock = (iso) => iso ? iso.slice(11, 19) : "";
const day = (iso) => iso ? `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC` : "";
function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${Math.max(1, Math.round(value * 1e6))} µs`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 120 ? `${value.toFixed(1)} s` : `${Math.round(value / 60)} min`;
}
function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

// Pictures ---------------------------------------------------------------------------------------------------------

class Tile {
  constructor(id) {
    const node = $("camera-template").content.firstElementChild.cloneNode(true);
    this.id = id;
    this.node = node;
    this.after = -1;
    this.canvas = node.querySelector("canvas");
    this.veil = node.querySelector(".veil");
    this.dot = node.querySelector(".dot");
    this.badge = node.querySelector(".badge");
    this.chips = node.querySelector(".chips");
    this.rates = node.querySelector(".rates");
    this.time = node.querySelector("time");
    this.picture = node.querySelector(".picture");
    this.seen = true;
    node.querySelector("h3").textContent = id;
    $("cameras").append(node);
    new IntersectionObserver((entries) => { this.seen = entries[0].isIntersecting; }).observe(node);
    new ResizeObserver(() => this.draw()).observe(this.picture);
    this.follow();
  }

  async follow() {
    for (;;) {
      if (document.hidden || !this.seen) { await sleep(300); continue; }
      try {
        // Browsers open six connections to a server: many cameras must not hold them all.
        const wait = tiles.size <= 4 ? 5 : 0;
        const frame = await get(`/v1/cameras/${encodeURIComponent(this.id)}/latest?after=${this.after}&wait=${wait}`);
        if (frame) await this.show(frame); else if (!wait) await sleep(200);
        if (tiles.size > 4) await sleep(120);
      } catch (error) {
        await sleep(1000);
      }
    }
  }

  async show(frame) {
    const image = new Image();
    image.src = frame.image;
    await image.decode();
    if (frame.sequence < this.after) this.after = -1;
    this.after = frame.sequence;
    this.frame = frame;
    this.image = image;
    this.picture.style.setProperty("--aspect", `${frame.width} / ${frame.height}`);
    this.draw();
    const counts = new Map();
    for (const box of frame.detections) {
      const entry = counts.get(box.class) || { n: 0, colour: box.colour };
      entry.n += 1;
      counts.set(box.class, entry);
    }
    this.chips.replaceChildren(...[...counts].slice(0, 4).map(([name, entry]) => {
      const chip = element("b", "", entry.n > 1 ? `${display(name)} ×${entry.n}` : display(name));
      chip.style.background = entry.colour;
      return chip;
    }));
    this.node.classList.toggle("found", counts.size > 0);
    set(this.time, day(frame.captured_at));
  }

  draw() {
    if (!this.image) return;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.picture.clientWidth * ratio);
    const height = Math.round(this.picture.clientHeight * ratio);
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) { this.canvas.width = width; this.canvas.height = height; }
    const pen = this.canvas.getContext("2d");
    const scale = Math.min(width / this.frame.width, height / this.frame.height);
    const left = (width - this.frame.width * scale) / 2;
    const top = (height - this.frame.height * scale) / 2;
    pen.clearRect(0, 0, width, height);
    pen.drawImage(this.image, left, top, this.frame.width * scale, this.frame.height * scale);
    const size = Math.max(13 * ratio, height / 26);
    pen.font = `650 ${size}px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;
    pen.textBaseline = "middle";
    const surest = [...this.frame.detections].sort((a, b) => b.confidence - a.confidence).slice(0, LABELS);
    for (const box of this.frame.detections) {
      const [x1, y1, x2, y2] = box.bbox.map((value, i) => value * scale + (i % 2 ? top : left));
      const line = Math.max(2.5 * ratio, height / 200);
      pen.lineJoin = "round";
      pen.strokeStyle = "rgb(0 0 0 / 55%)";
      pen.lineWidth = line + 2 * ratio;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
      pen.strokeStyle = box.colour;
      pen.lineWidth = line;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
      if (!surest.includes(box)) continue; // more labels than that hide the picture
      const text = `${display(box.class)} ${Math.round(box.confidence * 100)} %`;
      const wide = pen.measureText(text).width + size * 0.7;
      const tall = size * 1.4;
      const x = Math.min(Math.max(0, x1 - line / 2), Math.max(0, width - wide));
      const y = y1 - tall >= 0 ? y1 - tall : Math.min(y2, height - tall);
      pen.fillStyle = box.colour;
      pen.beginPath();
      pen.roundRect(x, y, wide, tall, 4 * ratio);
      pen.fill();
      pen.fillStyle = "#10161f";
      pen.fillText(text, x + size * 0.35, y + tall / 2);
    }
  }

  report(camera) {
    this.badge.hidden = !camera.simulated;
    const silent = camera.last_result_age_s === null || camera.last_result_age_s > readySeconds;
    let veil = "";
    if (camera.state === "error") veil = `no camera: ${camera.message}`;
    else if (camera.state === "finished") veil = "";
    else if (silent) veil = camera.last_result_age_s === null ? (camera.message || "no picture yet") : `no picture for ${seconds(camera.last_result_age_s)}`;
    set(this.veil, veil);
    this.dot.className = `dot ${camera.state === "error" ? "bad" : silent && camera.state !== "finished" ? "warn" : camera.state === "finished" ? "" : "good"}`;
    this.dot.title = camera.state;
    const speed = camera.state === "finished" ? "source has ended" : `${camera.fps.toFixed(1)} fps`;
    set(this.rates, [speed, camera.latency_ms_p50 === null ? null : `${camera.latency_ms_p50.toFixed(0)} ms`].filter(Boolean).join(" · "));
  }
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const display = (name) => (status && status.model.display_names[name]) || name;

// Figures ----------------------------------------------------------------------------------------------------------

async function refresh() {
  let next;
  try {
    next = await get("/v1/status", AbortSignal.timeout(4000));
  } catch (error) {
    lamp("bad", "no answer");
    alarm("The agent does not answer. The picture below is old.", false);
    return;
  }
  status = next;
  readySeconds = next.ready_seconds;
  document.title = `${next.device_id} · ${next.model.version || "no model"}`;
  set($("device"), next.device_id);
  set($("clock"), clock(next.at) + " UTC");
  set($("agent"), `yolo_assets ${next.agent_version}`);
  const names = Object.keys(next.cameras);
  const simulated = names.filter((name) => next.cameras[name].simulated);
  $("simulated").hidden = !simulated.length;
  set($("simulated"), simulated.length === names.length ? "simulated line" : `${simulated.length} of ${names.length} simulated`);
  $("cameras").classList.toggle("many", names.length > 4);
  for (const name of names) {
    if (!tiles.has(name)) tiles.set(name, new Tile(name));
    tiles.get(name).report(next.cameras[name]);
  }
  lamp(next.ready ? "good" : "warn", next.ready ? "running" : "not ready");
  alarm(next.spool.trouble || (next.ready ? "" : next.not_ready.join(" · ")), !next.spool.trouble);
  model(next);
  speed(next, names);
  books(next, names);
  history(next.swaps);
}

function lamp(kind, text) {
  $("lamp").className = `lamp ${kind}`;
  set($("lamp-text"), text);
}

function alarm(text, mild) {
  $("alarm").hidden = !text;
  $("alarm").classList.toggle("warn", mild);
  set($("alarm"), text);
}

function model(now) {
  const it = now.model;
  set($("model"), it.version || "none yet");
  const notes = [];
  if (it.preparing && it.preparing !== it.version) notes.push(`preparing ${it.preparing}`);
  if (it.pinned) notes.push(`pinned to ${it.pinned.version}`);
  if (it.version) notes.push(it.release ? `release ${it.release}` : "asked for by hand", `channel ${it.channel}`, it.engine);
  if (now.store.error) notes.push("store away");
  set($("model-note"), notes.join(" · ") || `waiting for a release of ${it.name} on ${it.channel}`);
  $("rollback").disabled = !it.previous;
  set($("rollback"), it.previous ? `Roll back to ${it.previous.split("/").pop()}` : "Roll back");
  $("unpin").hidden = !it.pinned;
}

function speed(now, names) {
  set($("fps"), now.fps.toFixed(now.fps < 10 ? 1 : 0));
  set($("fps-note"), `${names.length} camera${names.length === 1 ? "" : "s"}`);
  const all = names.map((name) => now.cameras[name]);
  const worst = Math.max(...all.map((camera) => camera.latency_ms_p99 ?? -1));
  const usual = Math.max(...all.map((camera) => camera.latency_ms_p50 ?? -1));
  const inference = Math.max(...all.map((camera) => camera.inference_ms_p50 ?? -1));
  set($("latency"), worst < 0 ? "–" : worst.toFixed(0));
  set($("latency-note"), worst < 0 ? " " : `median ${usual.toFixed(0)} · model ${inference.toFixed(inference < 10 ? 1 : 0)}`);
  const gap = now.longest_gap.overall_s;
  set($("gap"), gap < 1 ? whole(gap * 1000) : gap.toFixed(1));
  set($("gap-unit"), gap < 1 ? "ms" : "s");
  set($("gap-note"), `since ${clock(now.longest_gap.since)}`);
  set($("disk"), now.spool.disk_used === null ? "–" : (now.spool.disk_used * 100).toFixed(0));
  set($("disk-note"), `spool ${bytes(now.spool.bytes)}`);
}

function books(now, names) {
  $("books").replaceChildren(...[...names.map((name) => [name, now.cameras[name]]), ...(names.length > 1 ? [["all cameras", now.totals]] : [])].map(([name, it]) => {
    const drops = Object.entries(it.dropped).sort((a, b) => b[1] - a[1]);
    const stack = element("div", "stack");
    const part = (n, colour, title) => {
      if (!n) return;
      const bar = element("i");
      bar.style.flexGrow = n;
      bar.style.background = colour;
      bar.title = `${title}: ${whole(n)}`;
      stack.append(bar);
    };
    part(it.processed, "var(--good)", "processed");
    drops.forEach(([reason, n], i) => part(n, DROP_COLOURS[i % DROP_COLOURS.length], reason));
    part(it.in_flight, "var(--accent)", "in flight");
    const sum = element("div", "sum", element("span", "", element("b", "", whole(it.processed)), " processed"));
    for (const [reason, n] of drops) sum.append(element("span", "", element("b", "", whole(n)), ` dropped: ${reason.replaceAll("_", " ")}`));
    sum.append(element("span", "", element("b", "", whole(it.in_flight)), " in flight"));
    const verdict = element("span", "", it.balanced ? `= ${whole(it.captured)} captured ✓` : `≠ ${whole(it.captured)} captured ✕`);
    return element("div", "book", element("header", "", element("span", "", name), verdict), stack, sum);
  }));
}

let shown = "";
function history(swaps) {
  const key = JSON.stringify(swaps);
  if (key === shown) return;
  shown = key;
  if (!swaps.length) {
    $("history").replaceChildren(element("li", "empty", "No change yet."));
    return;
  }
  $("history").replaceChildren(...[...swaps].reverse().slice(0, 30).map((swap) => {
    const [mark, word] = RESULT[swap.result];
    const from = swap.source && swap.source !== swap.target ? `${swap.source} → ` : "";
    const time = element("time", "", clock(swap.at));
    time.title = swap.at;
    const head = element("div", "head", element("span", "what", word), element("span", "", from + swap.target), time);
    const facts = element("div", "facts");
    const fact = (value, text) => facts.append(element("span", "", element("b", "", value), ` ${text}`));
    fact(seconds(swap.seconds), "in all");
    if (swap.switch_seconds !== null) fact(seconds(swap.switch_seconds), "switch");
    if (swap.first_result_seconds !== null) fact(seconds(swap.first_result_seconds), "to its first result");
    if (swap.in_flight_at_switch !== null) fact(`${swap.in_flight_at_switch}`, "in flight");
    if (swap.lost !== null) fact(`${swap.lost}`, "lost");
    const gaps = Object.values(swap.longest_gap_seconds).filter((gap) => gap > 0);
    if (gaps.length) fact(seconds(Math.max(...gaps)), "longest silence");
    const steps = Object.entries(swap.steps).filter(([, spent]) => spent > 0);
    const body = element("div", "", head, element("p", "reason", swap.reason), ...bars(steps), facts);
    return element("li", swap.result, element("span", "mark", mark), body);
  }));
}

function bars(steps) {
  if (!steps.length) return [];
  const painted = (name, grow) => {
    const bar = element("i");
    if (grow) bar.style.flexGrow = grow;
    bar.style.background = `var(${STEP_COLOURS[name] || "--faint"})`;
    return bar;
  };
  const long = steps.filter(([, spent]) => spent >= 0.0005);
  return [
    element("div", "stack", ...steps.map(([name, spent]) => painted(name, spent * 1e6))),
    element("div", "steps", ...long.map(([name, spent]) => element("span", "", painted(name), `${name} ${seconds(spent)}`))),
  ];
}

// Changes ----------------------------------------------------------------------------------------------------------

let go = null;
function askToken(title, text, button, action) {
  if ($("dialog").open) return;
  set($("dialog-title"), title);
  set($("dialog-text"), text);
  set($("dialog-go"), button);
  set($("dialog-error"), "");
  $("token").value = sessionStorage.getItem("token") || "";
  go = action;
  $("dialog").showModal();
  $("token").focus();
}

async function post(path) {
  const answer = await fetch(path, { method: "POST", headers: headers() });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    if (answer.status === 401) sessionStorage.removeItem("token");
    throw new Error(answer.status === 401 ? "That is not the token of this device." : body.detail || `error ${answer.status}`);
  }
  await refresh();
  return body;
}

$("dialog-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  $("dialog-go").disabled = true;
  try {
    await go();
    $("dialog").close();
  } catch (error) {
    set($("dialog-error"), error.message);
  } finally {
    $("dialog-go").disabled = false;
  }
});
$("dialog-cancel").addEventListener("click", () => $("dialog").close());
$("rollback").addEventListener("click", () => askToken(
  "Roll back",
  `${status.model.previous} takes over from ${status.model.version} at once and stays until unpinned or until a newer release.`,
  "Roll back now", () => post("/v1/rollback")));
$("unpin").addEventListener("click", () => askToken(
  "Unpin", `The device follows channel ${status.model.channel} again.`, "Unpin", () => post("/v1/unpin")));

const root = document.documentElement;
if (localStorage.getItem("theme")) root.dataset.theme = localStorage.getItem("theme");
$("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});

(async () => {
  for (;;) {
    if (!document.hidden) await refresh();
    await sleep(1000);
  }
})();
