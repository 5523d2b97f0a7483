// One camera: its newest frame with boxes, drawn here, and in words whether what is shown is live.

import { get } from "./http.js";
import { $, element, set, sleep } from "./elements.js";
import { day, list, number, percent, said, seconds, t, word } from "./texts.js";

const LABELS = 12; // more labels than that hide the picture
const FEW = 4;

export class Camera {
  constructor(id, page) {
    const node = $("camera-template").content.firstElementChild.cloneNode(true);
    this.id = id;
    this.page = page;
    this.node = node;
    this.after = -1;
    this.canvas = node.querySelector("canvas");
    this.veil = node.querySelector(".veil");
    this.word = node.querySelector(".badge.word");
    this.badge = node.querySelector(".badge.simulated");
    this.chips = node.querySelector(".chips");
    this.rates = node.querySelector(".rates");
    this.time = node.querySelector("time");
    this.picture = node.querySelector(".picture");
    this.seen = true;
    this.shownAt = null;
    this.report = null;
    node.dataset.camera = id;
    node.querySelector("h3").textContent = id;
    this.canvas.setAttribute("aria-label", t("camera.label", { camera: id, text: t("camera.no_picture_yet") }));
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
        const wait = this.page.cameras <= FEW ? 5 : 0;
        const frame = await get(`/v1/cameras/${encodeURIComponent(this.id)}/latest?after=${this.after}&wait=${wait}`, wait + 4);
        if (frame) await this.show(frame); else if (!wait) await sleep(200);
        if (!wait) await sleep(120);
      } catch {
        await sleep(1000);
      }
    }
  }

  async show(frame) {
    const image = new Image();
    image.src = frame.image;
    await image.decode();
    this.after = frame.sequence;
    this.frame = frame;
    this.image = image;
    this.shownAt = performance.now();
    this.picture.style.setProperty("--aspect", `${frame.width} / ${frame.height}`);
    this.node.dataset.sequence = frame.sequence;
    this.node.dataset.model = frame.model_version;
    this.draw();
    const counts = new Map();
    for (const box of frame.detections) {
      const entry = counts.get(box.class) || { n: 0, colour: box.colour };
      entry.n += 1;
      counts.set(box.class, entry);
    }
    const found = [...counts].map(([name, entry]) => ({ ...entry, text: entry.n > 1 ? t("camera.class_count", { name: this.page.display(name), n: entry.n }) : this.page.display(name) }));
    this.chips.replaceChildren(...found.slice(0, 4).map((entry) => {
      const chip = element("b", "", entry.text);
      chip.style.background = entry.colour;
      return chip;
    }));
    this.found = list(found.map((entry) => entry.text)) || t("camera.found_nothing");
    this.node.classList.toggle("found", counts.size > 0);
    set(this.time, day(frame.captured_at));
    this.time.dateTime = frame.captured_at;
    this.assess();
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
    const size = Math.max(13 * ratio, height / 24);
    pen.font = `650 ${size}px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;
    pen.textBaseline = "middle";
    const line = Math.max(2.5 * ratio, height / 180);
    pen.lineJoin = "round";
    for (const box of this.frame.detections) {
      const [x1, y1, x2, y2] = this.place(box, scale, left, top);
      pen.strokeStyle = "rgb(0 0 0 / 55%)";
      pen.lineWidth = line + 2 * ratio;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
      pen.strokeStyle = box.colour;
      pen.lineWidth = line;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
    // Labels after all boxes, the surest last: no line runs through a word, and the surest word is never covered.
    const surest = [...this.frame.detections].sort((a, b) => b.confidence - a.confidence).slice(0, LABELS).reverse();
    for (const box of surest) {
      const [x1, y1, , y2] = this.place(box, scale, left, top);
      const text = t("camera.box", { name: this.page.display(box.class), share: percent(box.confidence) });
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

  place(box, scale, left, top) {
    return box.bbox.map((value, i) => value * scale + (i % 2 ? top : left));
  }

  tell(report, startedAt) {
    if (this.startedAt !== startedAt) this.after = -1; // another run of the agent may count from 0 again
    this.startedAt = startedAt;
    this.report = report;
    this.badge.hidden = !report.simulated;
    const speed = report.state === "finished" ? null : t("unit.fps", { n: number(report.fps, 1) });
    const parts = [speed, report.latency_ms_p50 === null ? null : t("unit.ms", { n: report.latency_ms_p50 })];
    if (report.restarts) parts.push(t("camera.reconnected", { n: report.restarts }));
    if (report.lot && report.lot.batch_id) parts.push(t("camera.batch", { name: report.lot.batch_id }));
    if (report.lot && report.lot.part_id) parts.push(t("camera.part", { name: report.lot.part_id }));
    if (report.mask) parts.push(t("camera.mask"));
    set(this.rates, parts.filter(Boolean).join(" · "));
    this.assess();
  }

  /** Whether what is shown is live. Asked every second, also when nothing answers any more. */
  assess() {
    const [kind, state, veil] = this.state();
    const shown = word("seen", state);
    this.word.className = `badge word ${kind}`;
    set(this.word, shown);
    set(this.veil, veil);
    this.node.classList.toggle("stale", Boolean(veil));
    const text = veil || t("camera.shows", { state: shown, found: this.found || t("camera.no_picture_yet") });
    const label = t("camera.label", { camera: this.id, text });
    if (this.canvas.getAttribute("aria-label") !== label) this.canvas.setAttribute("aria-label", label);
  }

  state() {
    const it = this.report;
    const away = this.page.awaySeconds();
    if (away !== null) return ["bad", "not_live", this.image ? t("camera.not_live_old", { age: seconds(away) }) : word("seen", "no_connection")];
    if (!it) return ["", "starting", ""];
    const why = it.message ? said(it.message) : "";
    if (["reconnecting", "failed"].includes(it.state)) return ["bad", "no_camera", why || t("camera.no_answer")];
    if (it.state === "finished") return ["", "finished", ""];
    if (it.state === "stopped") return ["", "stopped", t("camera.agent_stops")];
    if (it.state === "waiting") return ["", "waiting", ""]; // nothing new is nothing wrong
    if (it.state === "frozen") return ["bad", "frozen", t("camera.frozen_why", { why: why || t("camera.frozen") })];
    if (it.last_result_age_s === null) return ["warn", "starting", why || t("camera.no_picture_yet")];
    const silent = it.last_result_age_s + (performance.now() - this.page.answeredAt) / 1000;
    // What comes rarely is not late yet: a camera may take one picture in ten seconds.
    const patience = Math.max(3, Math.min(3 / Math.max(it.fps, 0.01), this.page.readySeconds));
    if (silent > patience) {
      const age = seconds(silent);
      return ["bad", "silent", why ? t("camera.silent_why", { age, why }) : t("camera.silent_for", { age })];
    }
    if (!this.image) return ["warn", "starting", t("camera.loading")];
    // Results come and their pictures do not: what is shown is old, whatever the camera does.
    const old = (performance.now() - this.shownAt) / 1000;
    if (old > silent + patience + 2) return ["bad", "not_live", t("camera.picture_old", { age: seconds(old) })];
    return it.state === "live" ? ["good", "live", ""] : ["warn", it.state, ""];
  }
}
