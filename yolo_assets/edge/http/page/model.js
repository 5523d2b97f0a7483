// The model that serves and everything that decides about the next one, in words.

import { $, element, set } from "./words.js";

const WORD = { good: "●", warn: "▲", bad: "✕", plain: "■" };

export function showModel(now) {
  const it = now.model;
  set($("model"), it.version || "none yet");
  const notes = it.version
    ? [it.release ? `release ${it.release}` : "requested by hand", `channel ${it.channel}`, it.engine]
    : [`waiting for a release of ${it.name} on ${it.channel}`];
  if (it.previous) notes.push(`before: ${it.previous}`);
  set($("model-note"), notes.join(" · "));
  const states = it.states || [];
  const key = JSON.stringify(states);
  if ($("states").dataset.key !== key) {
    $("states").dataset.key = key;
    $("states").replaceChildren(...states.map((state) => element("li", state.kind,
      element("b", "", `${WORD[state.kind] || ""} ${state.word}`), state.detail ? element("span", "", state.detail) : null)));
  }
  $("rollback").disabled = !it.previous;
  set($("rollback"), it.previous ? `Roll back to ${it.previous.split("/").pop()}` : "Roll back");
  $("pin").disabled = !it.version;
  set($("pin"), it.pinned ? "Unpin" : "Pin");
}
