// The ids of marked pictures are stored in localStorage. The key is the id of <body>, which is the same on all pages.
const storageKey = document.body.id;
const boxes = [...document.querySelectorAll('input')];
let marked = new Set(load());

function load() {
  try {
    return JSON.parse(localStorage.getItem(storageKey)) || [];
  } catch {
    return [];
  }
}

function save() {
  try {
    localStorage.setItem(storageKey, JSON.stringify([...marked]));
  } catch {
    // storage is disabled or full: the marks last until the page is closed
  }
  render();
}

function render() {
  for (const box of boxes) box.checked = marked.has(box.value);
  document.getElementById('count').textContent = marked.size + ' marked';
  for (const button of document.querySelectorAll('button')) button.disabled = !marked.size;
}

// Return the nearest checkbox below or above `box` in the same column of the grid.
function verticalNeighbour(box, isDown) {
  const rect = box.parentElement.getBoundingClientRect();
  const column = boxes.filter(other => {
    const { left, top } = other.parentElement.getBoundingClientRect();
    return Math.abs(left - rect.left) < 2 && (isDown ? top > rect.top + 2 : top < rect.top - 2);
  });
  return isDown ? column[0] : column[column.length - 1];
}

document.addEventListener('change', event => {
  if (event.target.checked) marked.add(event.target.value);
  else marked.delete(event.target.value);
  save();
});

document.addEventListener('keydown', event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const index = boxes.indexOf(document.activeElement);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (event.key === 'x' && index >= 0) {
    boxes[index].click();
  } else if (step) {
    boxes[Math.min(boxes.length - 1, Math.max(0, index + step))]?.focus();
  } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && index >= 0) {
    verticalNeighbour(boxes[index], event.key === 'ArrowDown')?.focus();
  } else {
    return;
  }
  event.preventDefault();
});

document.getElementById('save').addEventListener('click', () => {
  const lines = [...marked].sort().map(id => 'sha256:' + id + '\n');
  const text = '# marked on the review pages\n' + lines.join('');
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  link.download = 'marks.txt';
  link.click();
});

document.getElementById('clear').addEventListener('click', () => {
  marked.clear();
  save();
});

// another tab with a page of the same review has changed the marks
window.addEventListener('storage', () => {
  marked = new Set(load());
  render();
});

render();
