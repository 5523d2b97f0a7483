// The live page of one agent. Nothing is loaded from elsewhere, nothing is kept but the theme and, for this tab, the token.

import { Camera } from "./camera.js";
import { askToken } from "./dialog.js";
import { showFigures } from "./figures.js";
import { showHistory } from "./history.js";
import { get, onTokenNeeded, post } from "./http.js";
import { showModel } from "./model.js";
import { $, clock, seconds, set, sleep } from "./words.js";

const AWAY_AFTER = 3;
const EVERY = 1000;
const cameras = new Map();
let status = null;

/** What the cameras must know of the page. */
const page = {
  cameras: 0,
  readySeconds: 10,
  answeredAt: performance.now(),
  display: (name) => (status && status.model.display_names[name]) || name,
  /** Seconds since the agent last answered, once that is too long; null: it answers. */
  awaySeconds: () => {
    const away = (performance.now() - page.answeredAt) / 1000;
    return away > AWAY_AFTER ? away : null;
  },
};

async function refresh() {
  try {
    status = await get("/v1/status", 4);
  } catch {
    return;
  }
  page.answeredAt = performance.now();
  page.readySeconds = status.ready_seconds;
  const names = Object.keys(status.cameras);
  page.cameras = names.length;
  const simulated = names.filter((name) => status.cameras[name].simulated);
  $("simulated").hidden = !simulated.length;
  set($("simulated"), simulated.length === names.length ? "simulated line" : `${simulated.length} of ${names.length} simulated`);
  $("cameras").dataset.count = names.length > 4 ? "many" : `${names.length}`;
  set($("device"), status.device_id);
  set($("agent"), `yolo_assets ${status.agent_version}`);
  for (const name of names) {
    if (!cameras.has(name)) cameras.set(name, new Camera(name, page));
    cameras.get(name).tell(status.cameras[name], status.started_at);
  }
  showModel(status);
  showFigures(status, names);
  await showHistory(status).catch(() => {}); // the audit log is asked for again with the next status
}

/** Says whether the agent answers, once a second, from this page's own clock: an agent that is gone says nothing. */
function tick() {
  if (document.hidden) return;
  const away = page.awaySeconds();
  document.documentElement.classList.toggle("away", away !== null);
  $("lost").hidden = away === null;
  if (away !== null) {
    lamp("bad", "no connection");
    for (const id of ["rollback", "pin"]) $(id).disabled = true; // until the next status
    set($("lost-text"), status
      ? ` to the agent for ${seconds(away)}. Pictures and figures are from ${clock(status.at)} UTC and not live.`
      : " to the agent yet. Is it running?");
    $("alarm").hidden = true;
    document.title = `✕ no connection · ${status ? status.device_id : "line"}`;
  } else if (status) {
    const bad = status.spool.trouble || status.audit.trouble;
    lamp(status.ready ? "good" : "warn", status.ready ? "running" : "not ready");
    alarm(bad || [...status.not_ready, ...status.warnings].join(" · "), !bad);
    set($("clock"), `${clock(status.at)} UTC`);
    document.title = `${status.ready ? "" : "▲ not ready · "}${status.device_id} · ${status.model.version || "no model"}`;
  }
  for (const camera of cameras.values()) camera.assess();
}

function lamp(kind, text) {
  $("lamp").className = `lamp ${kind}`;
  set($("lamp-text"), text);
}

function alarm(text, mild) {
  $("alarm").hidden = !text;
  $("alarm").classList.toggle("warn", mild);
  set($("alarm"), text || "");
}

const change = async (path) => { await post(path); await refresh(); tick(); };
$("rollback").addEventListener("click", () => askToken("Roll back",
  `${status.model.previous} takes over from ${status.model.version} at once, and stays until it is unpinned or a newer release comes.`,
  "Roll back now", () => change("/v1/rollback")));
$("pin").addEventListener("click", () => {
  const it = status.model;
  if (it.pinned) askToken("Unpin", `The device follows channel ${it.channel} again.`, "Unpin now", () => change("/v1/unpin"));
  else askToken("Pin", `The device stays on ${it.version}, whatever is released, until it is unpinned.`, "Pin now", () => change("/v1/pin"));
});
onTokenNeeded(() => askToken("This page is opened from another machine", "Reading needs the token too.", "Open",
  async () => { await get("/v1/status", 4); await refresh(); tick(); }));

const root = document.documentElement;
const theme = localStorage.getItem("theme");
if (theme === "dark" || theme === "light") root.dataset.theme = theme;
$("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});
setInterval(tick, EVERY);
document.addEventListener("visibilitychange", () => { page.answeredAt = performance.now(); }); // no request was sent meanwhile
for (;;) {
  if (!document.hidden) { await refresh(); tick(); }
  await sleep(EVERY);
}
