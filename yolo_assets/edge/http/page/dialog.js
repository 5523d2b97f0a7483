// Asks for the token before anything is changed, and says what will happen.

import { token } from "./http.js";
import { $, set } from "./elements.js";
import { t } from "./texts.js";

let go = null;

/** Ask; `action` runs with the token in place. An error stays in the dialog, in the agent's own words. */
export function askToken(title, text, button, action) {
  if ($("dialog").open) return;
  set($("dialog-title"), title);
  set($("dialog-text"), text);
  set($("dialog-go"), button);
  set($("dialog-error"), "");
  $("token").value = token.get();
  go = action;
  $("dialog").showModal();
  (token.get() ? $("dialog-go") : $("token")).focus();
}

$("dialog-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  token.set($("token").value.trim());
  $("dialog-go").disabled = true;
  set($("dialog-error"), "");
  try {
    await go();
    $("dialog").close();
  } catch (error) {
    set($("dialog-error"), error.name === "TimeoutError" ? t("dialog.silent") : error.message);
    $("token").focus();
  } finally {
    $("dialog-go").disabled = false;
  }
});
$("dialog-cancel").addEventListener("click", () => $("dialog").close());
