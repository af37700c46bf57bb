// page.js: what the visitor sees and does. It keeps the classes and their pictures as files; the worker (worker.js) computes.
'use strict';

const at = (id) => document.getElementById(id);
const classes = [];        // {element, name, pictures: [{blob, name, item, url}]}
let learned = null;        // {names, task}: what was learned last, as the bytes of its file
let busy = true;           // the worker prepares or tunes
let losses = [], accuracies = [];

// --- the worker ---

const asked = new Map();  // id -> {resolve, reject}
let worker, lastId = 0;
function ask(what, more = {}, moved = []) {
  return new Promise((resolve, reject) => {
    asked.set(++lastId, {resolve, reject});
    worker.postMessage({id: lastId, what, ...more}, moved);
  });
}
function startWorker() {
  worker = new Worker(URL.createObjectURL(new Blob([at('worker').textContent], {type: 'text/javascript'})));
  worker.onmessage = ({data}) => {
    if (data.progress) return showProgress(data);
    const {resolve, reject} = asked.get(data.id);
    asked.delete(data.id);
    if (data.error === undefined) resolve(data.answer);
    else reject(new Error(data.error));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    complain(`The engine could not be started: ${event.message}`);
  };
}
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(at(id).textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// --- words ---

function complain(words) {
  at('problem').textContent = words;
  at('problem').hidden = words === '';
}
const complainToo = (words) => complain([at('problem').textContent, words].filter(Boolean).join('\n'));
const say = (words) => { at('state').textContent = words; };
const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;
// Does what a visitor asked for; what is wrong is said in words.
async function attempt(work) {
  complain('');
  try {
    await work();
  } catch (error) {
    complain(error.message);
  }
}

// --- classes and pictures ---

// One in five of a class, the last of each five; of three or four the last.
const isHeldOut = (i, count) => at('hold').checked && (count < 5 ? count >= 3 && i === count - 1 : i % 5 === 4);

function addClass(name) {
  const element = at('class-template').content.firstElementChild.cloneNode(true);
  const own = {element, name, pictures: []};
  const input = element.querySelector('.name');
  input.value = name;
  input.oninput = () => { own.name = input.value.trim(); refresh(); };
  for (const files of element.querySelectorAll('.files')) {
    files.onchange = () => { addPictures(own, files.files); files.value = ''; };
  }
  element.querySelector('.remove-class').onclick = () => {
    for (const picture of own.pictures.splice(0)) URL.revokeObjectURL(picture.url);
    classes.splice(classes.indexOf(own), 1);
    element.remove();
    refresh();
  };
  takesDrops(element, (files) => addPictures(own, files));
  classes.push(own);
  at('class-list').append(element);
  refresh();
  return own;
}

function addPictures(own, files) {
  const others = [];
  for (const blob of files) {
    if (!blob.type.startsWith('image/')) {
      others.push(`${blob.name} is no picture.`);
      continue;
    }
    const picture = {blob, name: blob.name, url: URL.createObjectURL(blob)};
    picture.item = document.createElement('li');
    const button = document.createElement('button'), image = document.createElement('img');
    button.type = 'button';
    image.src = picture.url;
    image.alt = '';
    button.append(image);
    const remove = () => {
      if (!own.pictures.includes(picture)) return;
      URL.revokeObjectURL(picture.url);
      own.pictures.splice(own.pictures.indexOf(picture), 1);
      picture.item.remove();
      refresh();
    };
    button.onclick = remove;
    image.onerror = () => {
      if (!own.pictures.includes(picture)) return;
      remove();
      complainToo(`${picture.name}: this browser cannot read it as a picture.`);
    };
    picture.item.append(button);
    own.element.querySelector('.pictures').append(picture.item);
    own.pictures.push(picture);
  }
  complain(others.join('\n'));
  refresh();
}

function takesDrops(element, use) {
  element.addEventListener('dragover', (event) => { event.preventDefault(); element.classList.add('over'); });
  element.addEventListener('dragleave', () => element.classList.remove('over'));
  element.addEventListener('drop', (event) => {
    event.preventDefault();
    element.classList.remove('over');
    use(event.dataTransfer.files);
  });
}

// What may be done now, and which pictures are held out.
function refresh() {
  for (const {element, name, pictures} of classes) {
    let heldOut = 0;
    pictures.forEach((picture, i) => {
      const held = isHeldOut(i, pictures.length), button = picture.item.firstChild;
      heldOut += held;
      button.classList.toggle('held-out', held);
      button.title = `${picture.name}${held ? ', held out' : ''}: remove`;
      button.setAttribute('aria-label', `Remove ${picture.name}${held ? ', which is held out' : ''}`);
    });
    element.querySelector('.count').textContent =
        plural(pictures.length, 'picture') + (heldOut > 0 ? `, ${heldOut} held out` : '');
    element.querySelector('.remove-class').setAttribute('aria-label', `Remove the class ${name}`);
  }
  const names = classes.map(({name}) => name);
  const ready = !busy && classes.length >= 2 && classes.every(({pictures}) => pictures.length > 0);
  at('start').disabled = !ready;
  at('go-on').disabled = !ready || learned === null || learned.names.join('\n') !== names.join('\n');
  at('download').disabled = busy || learned === null;
  at('try-file').disabled = at('task-file').disabled = busy;
}

// --- tuning ---

function showProgress(data) {
  if (data.progress === 'preparing') {
    at('progress').value = data.done / data.of;
    at('numbers').textContent = `Preparing picture ${data.done} of ${data.of}`;
    return;
  }
  const {step, of, loss, milliseconds, accuracy} = data;
  if (step > 0) losses.push(loss);
  if (accuracy) accuracies.push({step, share: accuracy.right / accuracy.of});
  at('progress').value = step / of;
  showProgress.accuracy = accuracy ?? showProgress.accuracy;
  drawChart(at('chart'), losses, accuracies, of);
  if (step === 0) {
    at('numbers').textContent = `Before the first step${wordsOf(accuracy)}`;
    return;
  }
  showProgress.rate = step === 1 ? milliseconds : 0.9 * showProgress.rate + 0.1 * milliseconds;
  const seconds = Math.ceil((of - step) * showProgress.rate / 1000);
  at('numbers').textContent = `Step ${step} of ${of}, loss ${loss.toFixed(3)}${wordsOf(showProgress.accuracy)}, ` +
      `${showProgress.rate.toFixed(0)} ms a step, ${seconds} s left`;
}
function wordsOf(accuracy) {
  if (!accuracy) return '';
  return `, ${accuracy.right} of ${accuracy.of} pictures ${accuracy.heldOut ? 'held out' : 'it learns from'} are right ` +
      `(${Math.round(100 * accuracy.right / accuracy.of)} %)`;
}
function number(id, words) {
  const field = at(id);
  if (field.value === '' || !field.checkValidity()) throw new Error(`${words}: ${field.validationMessage || 'a number is missing.'}`);
  return Number(field.value);
}

async function tune(task) {
  const settings = {
    prompts: number('prompts', 'Prompts'), learningRate: number('rate', 'Learning rate'), epochs: number('epochs', 'Epochs'),
  };
  const names = classes.map(({name}) => name);
  const given = classes.flatMap(({pictures}, label) => pictures.map(
      ({blob, name}, i) => ({blob, name, label, heldOut: isHeldOut(i, pictures.length)})));
  const steps = settings.epochs * Math.ceil(given.filter(({heldOut}) => !heldOut).length / 16);
  busy = true;
  losses = [];
  accuracies = [];
  refresh();
  say('Preparing the pictures.');
  try {
    const prepared = await ask('begin', {names, task, given, steps, ...settings});
    if (prepared.refused.length > 0) complainToo(prepared.refused.join('\n'));
    say(`Tuning on ${plural(prepared.shown, 'picture')}; ${prepared.heldOut} are held out.`);
    at('stop').disabled = false;
    const {step, accuracy} = await ask('tune', {steps});
    learned = {names, task: await ask('save')};
    say(`Learned in ${plural(step, 'step')}${wordsOf(accuracy)}. Try a picture, or download the task file ` +
        `(${(learned.task.length / 1024).toFixed(1)} KiB).`);
  } catch (error) {
    learned = null;
    say('Nothing was learned.');
    throw error;
  } finally {
    at('stop').disabled = true;
    busy = false;
    refresh();
  }
}

// --- a new picture, and the task file ---

async function tryPicture(files) {
  if (files.length === 0) return;
  if (busy) throw new Error('One thing at a time: tuning has not ended.');
  if (learned === null) throw new Error('Nothing was learned yet: tune first, or open a task file.');
  const probabilities = await ask('predict', {blob: files[0], name: files[0].name});
  const image = at('tried-picture');
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(files[0]);
  image.alt = files[0].name;
  const rows = learned.names.map((name, c) => ({name, share: probabilities[c]})).sort((a, b) => b.share - a.share);
  at('probabilities').replaceChildren(...rows.map(({name, share}) => {
    const item = document.createElement('li'), label = document.createElement('span'), percent = document.createElement('span'),
          meter = document.createElement('meter');
    label.textContent = name;
    percent.textContent = `${(100 * share).toFixed(1)} %`;
    meter.value = share;
    meter.setAttribute('aria-label', name);
    item.dataset.share = share;
    item.append(label, percent, meter);
    return item;
  }));
  at('tried').hidden = false;
  say(`${files[0].name}: ${rows[0].name}, ${(100 * rows[0].share).toFixed(1)} %.`);
}

function download() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([learned.task], {type: 'application/octet-stream'}));
  link.download = 'task.safetensors';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Its classes become the page's; pictures of classes that have the same name stay.
async function openTask(files) {
  if (files.length === 0) return;
  const task = new Uint8Array(await files[0].arrayBuffer());
  let names;
  try {
    names = await ask('look', {task});
    await ask('begin', {names, task, given: [], prompts: 0, learningRate: 0, steps: 0});
  } catch (error) {
    throw new Error(`${files[0].name} is no task of this backbone: ${error.message}`);
  }
  for (const own of [...classes]) {
    if (!names.includes(own.name)) own.element.querySelector('.remove-class').click();
  }
  for (const name of names) {
    const own = classes.find((one) => one.name === name) ?? addClass(name);
    classes.push(classes.splice(classes.indexOf(own), 1)[0]);  // in the file's order
    at('class-list').append(own.element);
  }
  learned = {names, task};
  say(`${files[0].name}: a task of ${names.length} classes. Try a picture, or add pictures and go on.`);
  refresh();
}

// --- all of it ---

at('add-class').onclick = () => addClass(`class ${classes.length + 1}`).element.querySelector('.name').select();
at('hold').onchange = refresh;
at('start').onclick = () => attempt(() => tune(null));
at('go-on').onclick = () => attempt(() => tune(learned.task));
at('stop').onclick = () => worker.postMessage({what: 'stop'});
at('download').onclick = download;
at('try-file').onchange = ({target}) => attempt(() => tryPicture(target.files)).finally(() => { target.value = ''; });
at('task-file').onchange = ({target}) => attempt(() => openTask(target.files)).finally(() => { target.value = ''; });
takesDrops(at('try-drop'), (files) => attempt(() => tryPicture(files)));
for (const kind of ['dragover', 'drop']) window.addEventListener(kind, (event) => event.preventDefault());  // not as a new page

addClass('first');
addClass('second');
drawChart(at('chart'), [], [], 0);
attempt(async () => {
  startWorker();
  const [wasm, weights] = await Promise.all([unpacked('engine'), unpacked('weights')]);
  const about = await ask('open', {wasm, weights}, [wasm.buffer, weights.buffer]);
  for (const id of ['engine', 'weights', 'worker']) at(id).remove();
  busy = false;
  say(`Ready. Behind the glass: ${about}.`);
  refresh();
});
