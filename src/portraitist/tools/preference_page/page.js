// The id of the button that each key presses.
const BUTTONS = { ArrowLeft: "left", ArrowRight: "right", " ": "neither" };

document.addEventListener("keydown", event => {
  const button = BUTTONS[event.key];
  if (!button || event.repeat) return;
  event.preventDefault();
  document.getElementById(button).click();
});
