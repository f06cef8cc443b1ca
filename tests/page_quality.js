// Measurements of a page for tests/page_quality.py. Rectangles are in pixels of the document, without the parts that
// ancestors clip. While a dialog is open, only its contents are measured. Disabled controls are exempt, as in WCAG.
const root = document.querySelector("dialog[open]") ?? document.body;
const isVisible = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(":disabled");
const visible = (selector) => [...root.querySelectorAll(selector)].filter(isVisible);
const html = (element) => element.outerHTML.replace(/\s+/g, " ").slice(0, 110);
const opacity = (element) => (element ? getComputedStyle(element).opacity * opacity(element.parentElement) : 1);

function clipped(element, { left, top, right, bottom }) {
  for (let box = element; box && box !== document.body; box = box.parentElement) {
    if (getComputedStyle(box).overflowX === "visible") continue;
    const rect = box.getBoundingClientRect();
    [left, right] = [Math.max(left, rect.left), Math.min(right, rect.right)];
    [top, bottom] = [Math.max(top, rect.top), Math.min(bottom, rect.bottom)];
  }
  return [left + scrollX, top + scrollY, Math.max(0, right - left), Math.max(0, bottom - top)];
}

function texts() {
  const found = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.data.trim() || !isVisible(element)) continue;
    range.selectNodeContents(node);
    const rects = [...range.getClientRects()].map((rect) => clipped(element, rect)).filter(([, , w, h]) => w > 2 && h > 2);
    if (!rects.length) continue;
    const svg = element.closest("svg");
    const style = getComputedStyle(element);
    const [red, green, blue, alpha = 1] = (svg ? style.fill : style.color).match(/[\d.]+/g).map(Number);
    found.push({
      rects, colour: [red, green, blue], alpha: alpha * opacity(element), bold: style.fontWeight >= 700, html: html(element),
      px: parseFloat(style.fontSize) * (svg?.getScreenCTM().a ?? 1),
    });
  }
  return found;
}

// `sides` are those that must be visible (left, top, right, bottom), as the colour of the border, or [] if there is none:
// the sides with a border; all if there is only a background; one of a native control. The others are null. A control
// without border and background is recognized by its text.
function controls() {
  const isSolid = (colour) => !/, 0\)$/.test(colour);
  return visible("button, .button, select, textarea, input:not([type=file]), .segments label, .swatch, .key").map((element) => {
    const style = getComputedStyle(element);
    const borders = ["Left", "Top", "Right", "Bottom"].map((side) => {
      const colour = style[`border${side}Color`];
      return parseFloat(style[`border${side}Width`]) > 0 && isSolid(colour) ? colour.match(/[\d.]+/g).slice(0, 3).map(Number) : null;
    });
    const isFilled = isSolid(style.backgroundColor) || style.backgroundImage !== "none";
    const isNative = element.matches("[type=radio], [type=checkbox], [type=range]");
    const sides = isNative ? [[], null, null, null] : borders.some(Boolean) ? borders : borders.map(() => (isFilled ? [] : null));
    const { width } = element.getBoundingClientRect();
    const rect = clipped(element.parentElement, element.getBoundingClientRect());
    return { rect, sides, html: html(element), isShown: opacity(element) > 0 && width > 2 && rect[2] > width - 1 };
  }).filter(({ isShown }) => isShown);
}

function smallTargets(minimum) { // links in sentences, and file inputs that a pointer opens by another control, are exempt
  return visible("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]").filter((element) => {
    const { width, height } = (element.closest("label") ?? element).getBoundingClientRect();
    return !element.matches("p a, [type=file]:not(label *)") && width && Math.min(width, height) < minimum;
  }).map(html);
}

function missingMetadata() {
  const content = (name) => document.querySelector(`meta[name=${name}]`)?.content ?? "";
  const viewport = content("viewport");
  return Object.entries({
    "no title": !document.title.trim(),
    "no language": !document.documentElement.lang,
    "no description": content("description").length < 20,
    "no viewport": !viewport.includes("width=device-width"),
    "zooming is not allowed": /user-scalable=(no|0)/.test(viewport) || /maximum-scale=[0-4]/.test(viewport),
  }).filter(([, isFault]) => isFault).map(([fault]) => fault);
}

function unsizedImages() { // as in Lighthouse's audit of the same name
  const isSized = (image) => image.hasAttribute("width") && image.hasAttribute("height");
  return visible("img").filter((image) => !isSized(image) && getComputedStyle(image).aspectRatio === "auto").map(html);
}

function movingElements() {
  const isLong = (times) => times.split(",").some((time) => parseFloat(time) > 0.01);
  const isMoving = ({ transitionDuration, animationDuration, scrollBehavior }) =>
    isLong(transitionDuration) || isLong(animationDuration) || scrollBehavior === "smooth";
  return [document.documentElement, ...root.querySelectorAll("*")].filter((element) =>
    ["", "::before", "::after"].some((part) => isMoving(getComputedStyle(element, part)))).map(html);
}

function layoutShift() { // of a page that was loaded without input
  return new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => { for (const { value } of list.getEntries()) sum += value; })
      .observe({ type: "layout-shift", buffered: true });
    setTimeout(() => resolve(sum), 200);
  });
}

function hideTexts() { // a style sheet that is made by a script works under each content security policy
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`*, ::before, ::after { -webkit-text-fill-color: transparent !important; text-shadow: none !important;
    text-decoration-color: transparent !important } svg text { fill: transparent !important }`);
  document.adoptedStyleSheets = [sheet];
}

function startRound() { // of pressing Tab
  window.round = new Set();
  window.checked ??= new WeakSet();
  document.activeElement.blur();
}

function focusedElement() { // null at the end of a round; "" if the element was checked in an earlier round
  const element = document.activeElement;
  if (element === document.body || window.round.has(element)) return null;
  const isChecked = window.checked.has(element);
  window.round.add(element);
  window.checked.add(element);
  return isChecked ? "" : html(element);
}
