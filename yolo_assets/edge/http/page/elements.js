// Small things that every part of the page uses to write into it.

export const $ = (id) => document.getElementById(id);
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Write only what changed: a screen reader speaks up again for every write. */
export const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };

// Here, because this runs before the texts are fetched: the page must not flash in the other theme.
const theme = localStorage.getItem("theme");
if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
