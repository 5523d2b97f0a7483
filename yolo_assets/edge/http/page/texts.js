// The words of the page in the language of whoever looks: texts, numbers, times and units. The catalogues are <language>.json.

import { $ } from "./elements.js";

const KEY = "language";
const PATTERNS = { n: "[\\d.,]+", time: "\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z", version: "[^\\s/]+/[^\\s/:;,]+", pin: "[^\\s/:;,]+", camera: "[\\w-]+", cameras: "[\\w-]+(?:, [\\w-]+)*", address: "[\\w.:-]+" };
const SENTENCES = ["why", "who", "role"]; // placeholders whose content is a sentence again

const catalogues = await (async () => {
  for (;;) {
    try {
      const answer = await fetch("/page/texts.json", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (answer.ok) return answer.json();
    } catch { /* the agent restarts */ }
    await new Promise((done) => setTimeout(done, 1000));
  }
})();
const english = catalogues.languages.en;

/** The catalogue for a tag of a browser, like zh-CN: the same tag, the same language, or none. */
function known(tag) {
  const names = Object.keys(catalogues.languages);
  const wanted = tag.toLowerCase();
  return names.find((name) => name.toLowerCase() === wanted) || names.find((name) => name.toLowerCase() === wanted.split("-")[0]);
}

export const language = [localStorage.getItem(KEY), catalogues.language, ...navigator.languages].filter(Boolean).map(known).find(Boolean) || "en";
const own = catalogues.languages[language];
/** The tag by which numbers and times are written: the browser's own variant of the language, like de-CH. */
const locale = navigator.languages.find((tag) => known(tag) === language) || language;

/** The text of a key. Numbers in `values` are written as the language does; `n` chooses the form. */
export function t(key, values = {}) {
  const [text, tag] = key in own ? [own[key], language] : [english[key], "en"];
  const form = typeof text === "string" ? text : text[new Intl.PluralRules(tag).select(values.n)] || text.other;
  return form.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === "number" ? number(value) : value;
  });
}

/** A word of the agent, like the state of a camera; one that no catalogue knows as it is. */
export function word(group, name) {
  const key = `${group}.${name.replaceAll(" ", "_")}`;
  return key in english ? t(key) : name.replaceAll("_", " ");
}

const sentences = Object.keys(english).filter((key) => key.startsWith("said.")).map((key) => {
  const names = [];
  const pattern = english[key].replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(/\{(\w+)\}/g, (_, name) => {
    names.push(name);
    return `(${PATTERNS[name] || ".+?"})`;
  });
  return { key, names, pattern: new RegExp(`^${pattern}$`, "s"), length: english[key].replace(/\{\w+\}/g, "").length };
}).sort((a, b) => b.length - a.length);

/** A sentence of the agent, which writes English into its log, API and page alike; one that no catalogue knows as it is. */
export function said(text) {
  for (const { key, names, pattern } of sentences) {
    const found = pattern.exec(text);
    if (!found) continue;
    return t(key, Object.fromEntries(names.map((name, at) => {
      const value = found[at + 1];
      return [name, SENTENCES.includes(name) ? said(value) : name === "time" ? day(value) : value];
    })));
  }
  return text;
}

export const number = (value, digits = 0) => new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
export const percent = (share) => t("unit.percent", { n: number(share * 100) });
export const list = (items) => items.join(t("comma"));

const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: "UTC" };
const clocks = new Intl.DateTimeFormat(locale, time);
const days = new Intl.DateTimeFormat(locale, { ...time, year: "numeric", month: "short", day: "numeric" });
export const clock = (iso) => (iso ? clocks.format(new Date(iso)) : "");
export const day = (iso) => (iso ? t("time.utc", { time: days.format(new Date(iso)) }) : "");

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return t("unit.us", { n: Math.max(1, Math.round(value * 1e6)) });
  if (value < 1) return t("unit.ms", { n: Math.round(value * 1000) });
  if (value < 120) return t("unit.s", { n: number(value, value < 10 ? 1 : 0) });
  return value < 7200 ? t("unit.min", { n: Math.round(value / 60) }) : t("unit.h", { n: Math.round(value / 3600) });
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return t(`unit.${units[unit]}`, { n: number(value, value < 10 && unit ? 1 : 0) });
}

// The texts that stand in the page itself, and the switch.
document.documentElement.lang = language;
for (const node of [...document.querySelectorAll("[data-t]"), ...$("camera-template").content.querySelectorAll("[data-t]")]) node.textContent = t(node.dataset.t);
for (const node of document.querySelectorAll("[data-t-label]")) node.setAttribute("aria-label", t(node.dataset.tLabel));
for (const node of document.querySelectorAll("[data-t-title]")) node.title = t(node.dataset.tTitle);
for (const [name, texts] of Object.entries(catalogues.languages)) $("language").add(new Option(texts.language || name, name, false, name === language));
$("language").addEventListener("change", (event) => {
  localStorage.setItem(KEY, event.target.value);
  location.reload();
});
