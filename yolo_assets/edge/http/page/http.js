// Requests to the agent. The token lives in this tab's sessionStorage and goes into the Authorization header only.

import { t } from "./texts.js";

const KEY = "token";
let ask = () => {};

export const token = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Called when reading needs the token: the page was opened from another machine. */
export const onTokenNeeded = (callback) => { ask = callback; };

const headers = () => (token.get() ? { Authorization: `Bearer ${token.get()}` } : {});

/** A JSON document; null for "nothing new". Gives up after `seconds`: a cable that was pulled never answers. */
export async function get(path, seconds) {
  const answer = await fetch(path, { headers: headers(), cache: "no-store", signal: AbortSignal.timeout(seconds * 1000) });
  if (answer.status === 401) {
    const wrong = token.get() !== "";
    token.forget();
    ask();
    if (wrong) throw new Error(t("dialog.wrong"));
  }
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
}

/** A change; the answer, or an error with the agent's own sentence. */
export async function post(path) {
  const answer = await fetch(path, { method: "POST", headers: headers(), signal: AbortSignal.timeout(20000) });
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  if (answer.status === 401) token.forget();
  throw new Error(answer.status === 401 ? t("dialog.wrong") : body.detail || t("dialog.error", { n: answer.status }));
}
