"use strict";
(() => {
  const hint = document.getElementById("hint");
  const marks = (drawing) => [...drawing.querySelectorAll('[role="graphics-symbol"][aria-label]')];
  let shown = null;
  const show = (mark) => {
    shown = mark;
    hint.textContent = mark.getAttribute("aria-label");
    hint.hidden = false;
    const at = mark.getBoundingClientRect();
    const box = hint.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - box.width / 2), innerWidth - box.width - 8);
    const above = at.top - box.height - 8;
    hint.style.left = `${Math.max(8, left)}px`;
    hint.style.top = `${above > 8 ? above : Math.min(at.bottom + 8, innerHeight - box.height - 8)}px`;
  };
  const hide = () => { shown = null; hint.hidden = true; };
  for (const drawing of document.querySelectorAll(".drawing")) {
    const all = marks(drawing);
    // one stop of the tab key a figure; arrows go from mark to mark
    all.forEach((mark, place) => mark.setAttribute("tabindex", place ? "-1" : "0"));
    const go = (from, to) => {
      if (!all[to]) return;
      from.setAttribute("tabindex", "-1");
      all[to].setAttribute("tabindex", "0");
      all[to].focus();
    };
    for (const [place, mark] of all.entries()) {
      mark.addEventListener("pointerenter", () => show(mark));
      mark.addEventListener("pointerleave", hide);
      mark.addEventListener("focus", () => show(mark));
      mark.addEventListener("blur", hide);
      mark.addEventListener("keydown", (event) => {
        const steps = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1,
          Home: 0, End: all.length - 1 };
        if (event.key === "Escape") hide();
        if (!(event.key in steps)) return;
        event.preventDefault();
        go(mark, steps[event.key]);
      });
    }
  }
  // a mark that gets the focus may be scrolled into view: its hint goes along
  addEventListener("scroll", () => { if (shown) show(shown); }, { passive: true, capture: true });
})();
