// Keys of a deck: arrows, space, page up and down, home and end turn slides; f is full screen, d light or dark.
"use strict";

const slides = [...document.querySelectorAll(".slide")];
const steps = {
  ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1,
  ArrowLeft: -1, ArrowUp: -1, PageUp: -1,
  Home: -Infinity, End: Infinity,
};

// The slide that fills most of the screen.
function current() {
  return Math.min(slides.length - 1, Math.round(window.scrollY / window.innerHeight));
}

function show(number) {
  const slide = slides[Math.max(0, Math.min(slides.length - 1, number))];
  slide.scrollIntoView();
  history.replaceState(null, "", `#${slide.id}`);
}

function theme(name) {
  document.documentElement.dataset.theme = name;
}

// Make the text of a slide smaller until it fits, down to half its size.
function fit(slide) {
  const body = slide.querySelector(".body");
  for (let size = 1; size >= 0.5; size -= 0.05) {
    slide.style.setProperty("--fit", size);
    if (body.scrollHeight <= body.clientHeight && body.scrollWidth <= body.clientWidth) {
      return;
    }
  }
}

function fitAll() {
  slides.forEach(fit);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("summary, a")) {
    return;
  }
  if (event.key in steps) {
    event.preventDefault();
    show(current() + (event.shiftKey && event.key === " " ? -1 : steps[event.key]));
  } else if (event.key === "f") {
    document.documentElement.requestFullscreen();
  } else if (event.key === "d") {
    theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  }
});

theme(window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
window.addEventListener("resize", fitAll);
window.addEventListener("load", () => {
  const ready = window.MathJax?.startup?.promise ?? Promise.resolve();
  ready.then(() => {
    fitAll();
    if (location.hash) {
      document.getElementById(location.hash.slice(1))?.scrollIntoView();
    }
    document.documentElement.dataset.ready = "yes";
  });
});
