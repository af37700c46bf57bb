// chart.js: the loss of each step and the accuracy of each epoch as lines in one drawing.
'use strict';

// losses: a number for each step. accuracies: {step, share}. steps: how many there will be.
function drawChart(svg, losses, accuracies, steps) {
  const left = 40, right = 590, top = 12, bottom = 196;
  const most = Math.max(1e-6, ...losses);
  const x = (step) => left + (right - left) * step / Math.max(1, steps);
  const y = (share) => bottom - (bottom - top) * share;
  const element = (name, facts, words) => {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(facts)) made.setAttribute(key, value);
    if (words !== undefined) made.textContent = words;
    return made;
  };
  const line = (kind, points) => element('polyline', {class: kind, points: points.map((p) => p.join()).join(' ')});
  const parts = [
    element('path', {class: 'axis', d: `M${left} ${top}V${bottom}H${right}V${top}`, fill: 'none'}),
    element('text', {x: left - 6, y: top + 4, 'text-anchor': 'end'}, most.toPrecision(2)),
    element('text', {x: left - 6, y: bottom, 'text-anchor': 'end'}, '0'),
    element('text', {x: right + 4, y: top + 4}, '100 %'),
    element('text', {x: right + 4, y: bottom}, '0 %'),
    element('text', {x: right, y: bottom + 16, 'text-anchor': 'end'}, `step ${steps}`),
  ];
  if (losses.length > 0) parts.push(line('loss', losses.map((loss, i) => [x(i + 1), y(loss / most)])));
  if (accuracies.length > 0) parts.push(line('accuracy', accuracies.map(({step, share}) => [x(step), y(share)])));
  svg.replaceChildren(...parts);
  const last = accuracies.at(-1);
  svg.setAttribute('aria-label', losses.length === 0 ? 'No step was made yet.' :
      `${losses.length} of ${steps} steps: the loss went from ${losses[0].toFixed(3)} to ${losses.at(-1).toFixed(3)}` +
      (last ? `, the accuracy is ${Math.round(100 * last.share)} %.` : '.'));
}
