// Shows what a reference leads to (theorem, equation, figure, word of the glossary) beside it, while the pointer rests on
// the link or the keyboard's focus is there. The texts come from tips/PAGE.js, made when the book is built (_ext/tips.py)
// and loaded at the first need, so that this works with no network and from a folder too.
(() => {
  "use strict";
  const WAIT = 250; // ms of rest before a tip opens, and of absence before it closes
  const root = document.documentElement.dataset.content_root;
  let table = null;
  let timer = 0;
  let wanted = null; // the link that a tip is to be shown for
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;

  const load = () => {
    table ??= new Promise((resolve) => {
      window.bookTips = resolve;
      const script = document.createElement("script");
      script.src = `${root}tips/${DOCUMENTATION_OPTIONS.pagename}.js`;
      script.onerror = () => resolve({});
      document.head.append(script);
    });
    return table;
  };

  const close = () => {
    wanted = null;
    tip.hidden = true;
    tip.replaceChildren();
  };

  const place = (link) => {
    const at = link.getClientRects()[0] ?? link.getBoundingClientRect();
    const below = at.bottom + tip.offsetHeight + 8 < window.innerHeight || at.top < tip.offsetHeight + 8;
    const top = below ? at.bottom + 4 : at.top - tip.offsetHeight - 4;
    const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - tip.offsetWidth - 8));
    tip.style.top = `${top + window.scrollY}px`;
    tip.style.left = `${left + window.scrollX}px`;
  };

  const open = async (link) => {
    wanted = link;
    const text = (await load())[link.getAttribute("href")];
    if (!text || wanted !== link) return;
    window.MathJax?.typesetClear?.([tip]);
    tip.innerHTML = text; // of this book, see _ext/tips.py
    tip.hidden = false;
    place(link);
    await window.MathJax?.typesetPromise?.([tip]);
    if (wanted === link) place(link);
  };

  const after = (action) => {
    clearTimeout(timer);
    timer = setTimeout(action, WAIT);
  };
  const linkOf = (event) => event.target.closest?.("article a.reference.internal[href*='#']");

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return; // a touch follows the link
    const link = linkOf(event);
    if (link && link !== wanted) after(() => open(link));
    else if (link || tip.contains(event.target)) clearTimeout(timer);
    else after(close);
  });
  document.addEventListener("focusin", (event) => {
    const link = linkOf(event);
    if (link?.matches(":focus-visible")) after(() => open(link));
    else if (wanted) after(close);
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  document.addEventListener("DOMContentLoaded", () => document.body.append(tip));
})();
