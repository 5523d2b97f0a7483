// Who uses this page, and what they may do here.

import { get } from "./http.js";
import { $, set } from "./elements.js";
import { t, word } from "./texts.js";

const SHARED = "token holder";
const EVERY = 10000;
let me = { name: null, role: "see", may: [] };
let askedAt = -EVERY;

/** Ask the agent who one is: now and then, because people change; at once after a token was given or forgotten. */
export async function knowPerson(atOnce = false) {
  if (!atOnce && performance.now() - askedAt < EVERY) return;
  askedAt = performance.now();
  me = await get("/v1/whoami", 4);
  const name = me.name === SHARED ? t("me.shared") : me.name;
  set($("me"), name ? t("me.is", { name, role: word("role", me.role) }) : t("me.sign_in"));
  $("me").title = name ? t("me.sign_out") : "";
}

export const isKnown = () => me.name !== null;

/** Why a button is of no use to whoever is known here; empty: it is, or it asks for a token. */
export const refusal = (route) => (me.name && !me.may.includes(route) ? t("me.refused", { role: word("role", me.role) }) : "");
