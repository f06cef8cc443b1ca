// The id of the button that each key presses.
const BUTTONS = { ArrowLeft: "left", ArrowRight: "right", " ": "neither" };

document.addEventListener("keydown", event => {
  const button = BUTTONS[event.key];
  if (!button || event.repeat || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.key === " " && event.target.closest("button, a")) return; // Space presses the focused button
  event.preventDefault();
  document.getElementById(button).click();
});
