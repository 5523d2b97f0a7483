// The live page of one agent. Nothing is loaded from elsewhere, nothing is kept but theme, language and, for this tab, the token.

import { Camera } from "./camera.js";
import { askToken } from "./dialog.js";
import { showFigures } from "./figures.js";
import { showHistory } from "./history.js";
import { get, onTokenNeeded, post, token } from "./http.js";
import { showModel } from "./model.js";
import { isKnown, knowPerson } from "./person.js";
import { $, set, sleep } from "./elements.js";
import { clock, language, seconds, t, said } from "./texts.js";

const AWAY_AFTER = 3;
const EVERY = 1000;
const cameras = new Map();
let status = null;

/** What the cameras must know of the page. */
const page = {
  cameras: 0,
  readySeconds: 10,
  answeredAt: performance.now(),
  /** What people call a class: the manifest has one name, or one for each language. */
  display: (name) => {
    const shown = status && status.model.display_names[name];
    if (!shown || typeof shown === "string") return shown || name;
    return shown[language] || shown[language.split("-")[0]] || shown.en || name;
  },
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
  await knowPerson().catch(() => {}); // asked again with a later status
  page.answeredAt = performance.now();
  page.readySeconds = status.ready_seconds;
  const names = Object.keys(status.cameras);
  page.cameras = names.length;
  const simulated = names.filter((name) => status.cameras[name].simulated);
  $("simulated").hidden = !simulated.length;
  set($("simulated"), simulated.length === names.length ? t("simulated.all") : t("simulated.some", { n: simulated.length, all: names.length }));
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
    lamp("bad", t("lamp.no_connection"));
    for (const id of ["rollback", "pin"]) $(id).disabled = true; // until the next status
    set($("lost-text"), status
      ? t("lost.since", { age: seconds(away), time: utc(status.at) })
      : t("lost.never"));
    $("alarm").hidden = true;
    document.title = t("title.no_connection", { device: status ? status.device_id : t("title.line") });
  } else if (status) {
    const bad = status.spool.trouble || status.audit.trouble;
    lamp(status.ready ? "good" : "warn", t(status.ready ? "lamp.running" : "lamp.not_ready"));
    alarm(bad || [...status.not_ready, ...status.warnings].map(said).join(" · "), !bad);
    set($("clock"), utc(status.at));
    document.title = t(status.ready ? "title.running" : "title.not_ready", { device: status.device_id, model: status.model.version || t("title.no_model") });
  }
  for (const camera of cameras.values()) camera.assess();
}

const utc = (iso) => t("time.utc", { time: clock(iso) });

function lamp(kind, text) {
  $("lamp").className = `lamp ${kind}`;
  set($("lamp-text"), text);
}

function alarm(text, mild) {
  $("alarm").hidden = !text;
  $("alarm").classList.toggle("warn", mild);
  set($("alarm"), text || "");
}

const change = async (path) => { await post(path); await knowPerson(true); await refresh(); tick(); };
$("me").addEventListener("click", async () => {
  if (isKnown() && token.get()) {
    token.forget();
    await knowPerson(true).catch(() => {});
    await refresh();
  } else if (!isKnown()) askToken(t("me.sign_in"), t("ask.sign_in_text"), t("ask.open"), async () => { await knowPerson(true); await refresh(); });
});
$("rollback").addEventListener("click", () => askToken(t("model.roll_back"),
  t("ask.roll_back", { previous: status.model.previous, version: status.model.version }),
  t("ask.roll_back_now"), () => change("/v1/rollback")));
$("pin").addEventListener("click", () => {
  const it = status.model;
  if (it.pinned) askToken(t("model.unpin"), t("ask.unpin", { channel: it.channel }), t("ask.unpin_now"), () => change("/v1/unpin"));
  else askToken(t("model.pin"), t("ask.pin", { version: it.version }), t("ask.pin_now"), () => change("/v1/pin"));
});
onTokenNeeded(() => askToken(t("ask.remote"), t("ask.remote_text"), t("ask.open"),
  async () => { await get("/v1/status", 4); await knowPerson(true); await refresh(); tick(); }));

const root = document.documentElement;
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
