// The model that serves and everything that decides about the next one, in words.

import { $, element, set } from "./elements.js";
import { refusal } from "./person.js";
import { said, t, word } from "./texts.js";

const MARK = { good: "●", warn: "▲", bad: "✕", plain: "■" };
/** What must be seen from two metres: nobody judged what serves here, or it stands still. */
const LOUD = new Set(["forced", "not judged", "hangs"]);

export function showModel(now) {
  const it = now.model;
  set($("model"), it.version || t("model.none"));
  const notes = it.version
    ? [it.release ? t("model.release", { n: it.release }) : t("model.by_hand"), t("model.channel", { channel: it.channel }), it.engine]
    : [t("model.waiting", { name: it.name, channel: it.channel })];
  if (it.previous) notes.push(t("model.before", { version: it.previous }));
  set($("model-note"), notes.join(" · "));
  const states = it.states || [];
  const key = JSON.stringify(states);
  if ($("states").dataset.key !== key) {
    $("states").dataset.key = key;
    $("states").replaceChildren(...states.map((state) => element("li", LOUD.has(state.word) ? `${state.kind} loud` : state.kind,
      element("b", "", `${MARK[state.kind] || ""} ${word("state", state.word)}`), state.detail ? element("span", "", said(state.detail)) : null)));
  }
  allow($("rollback"), it.previous, "POST /v1/rollback");
  set($("rollback"), it.previous ? t("model.roll_back_to", { version: it.previous.split("/").pop() }) : t("model.roll_back"));
  allow($("pin"), it.version, it.pinned ? "POST /v1/unpin" : "POST /v1/pin");
  set($("pin"), t(it.pinned ? "model.unpin" : "model.pin"));
}

/** A button is for what can be done, by those who may; it says why it is not. */
function allow(button, possible, route) {
  const why = refusal(route);
  button.disabled = !possible || why !== "";
  button.title = why;
}
