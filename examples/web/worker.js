// worker.js: what runs beside the page, so that the page never waits: pictures become pixels here, and page.c's calls are made
// here. The page asks with {id, what, ...} and gets {id, answer} or {id, error}, in the order of its asking; while it tunes,
// {progress} comes between, and {what: 'stop'} is heard at once.
'use strict';

let engine, lossPlace, sizePlace, stopping = false, classCount = 0, pictures = {shown: 0, heldOut: 0};

function must(status) {
  if (status < 0 || status > 0) throw new Error(engine.UTF8ToString(engine._page_message()));
}
// Bytes of the engine's memory for as long as `use` runs, which may be given others' content.
function withBytes(content, use) {
  const place = engine._malloc(Math.max(1, content.length));
  if (place === 0) throw new Error('The browser gave no memory.');
  try {
    engine.HEAPU8.set(content, place);
    return use(place);
  } finally {
    engine._free(place);
  }
}

// A picture's pixels as it is seen: turned as its camera says, on white where it is transparent, its numbers as they are in
// the file.
async function pixelsOf(blob, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, {imageOrientation: 'from-image', colorSpaceConversion: 'none'});
  } catch {
    throw new Error(`${name}: this browser cannot read it as a picture.`);
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d', {willReadFrequently: true});
  if (!context) throw new Error(`${name}: the browser gave no memory for ${bitmap.width} x ${bitmap.height} pixels.`);
  context.fillStyle = 'white';
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// Lets messages in that wait (a timer would be held back).
const turn = new MessageChannel();
const otherMessages = () => new Promise((done) => {
  turn.port1.onmessage = done;
  turn.port2.postMessage(0);
});

function measured() {
  const right = engine._page_right(pictures.heldOut > 0 ? 1 : 0);
  if (right < 0) must(right);
  return {right, of: pictures.heldOut > 0 ? pictures.heldOut : pictures.shown, heldOut: pictures.heldOut > 0};
}

const answers = {
  async open({wasm, weights}) {
    engine = await Vitrine({wasmBinary: wasm});
    lossPlace = engine._malloc(8);
    sizePlace = engine._malloc(4);
    const place = engine._malloc(weights.length);  // they stay
    engine.HEAPU8.set(weights, place);
    must(engine._page_open(place, weights.length));
    return engine.UTF8ToString(engine._page_about());
  },

  // The classes of a task file.
  look({task}) {
    return withBytes(task, (place) => {
      const count = engine._page_look(place, task.length);
      if (count < 0) must(count);
      return Array.from({length: count}, (_, i) => engine.UTF8ToString(engine._page_class(i)));
    });
  },

  // A task for these classes, fresh or from `task`, and the pictures (blob, name, label, heldOut) that it learns from.
  async begin({names, task, given, prompts, learningRate, steps}) {
    classCount = names.length;
    pictures = {shown: 0, heldOut: 0};
    const words = new TextEncoder().encode(names.map((name) => `${name}\0`).join(''));
    withBytes(words, (place) => withBytes(task ?? [], (taskPlace) => must(engine._page_begin(
        place, names.length, taskPlace, task ? task.length : 0, prompts, learningRate, steps))));
    const refused = [];
    for (const [i, {blob, name, label, heldOut}] of given.entries()) {
      try {
        const pixels = await pixelsOf(blob, name);
        withBytes(pixels.data,
                  (place) => must(engine._page_add(place, pixels.width, pixels.height, label, heldOut ? 1 : 0)));
        ++pictures[heldOut ? 'heldOut' : 'shown'];
      } catch (error) {
        if (error instanceof WebAssembly.RuntimeError) throw error;
        refused.push(error.message);
      }
      postMessage({progress: 'preparing', done: i + 1, of: given.length});
    }
    return {...pictures, refused};
  },

  async tune({steps}) {
    const epoch = Math.max(1, Math.ceil(pictures.shown / 16));  // page.c's batch
    stopping = false;
    let step = 0;
    postMessage({progress: 'tuning', step, of: steps, accuracy: measured()});
    while (step < steps && !stopping) {
      const began = performance.now();
      must(engine._page_step(lossPlace));
      const took = performance.now() - began, loss = engine.HEAPF64[lossPlace >> 3];
      ++step;
      const accuracy = step % epoch === 0 || step === steps ? measured() : null;
      postMessage({progress: 'tuning', step, of: steps, loss, milliseconds: took, accuracy});
      await otherMessages();
    }
    return {step, accuracy: measured()};
  },

  async predict({blob, name}) {
    const pixels = await pixelsOf(blob, name);
    return withBytes(pixels.data, (place) => withBytes(new Uint8Array(4 * classCount), (room) => {
      must(engine._page_predict(place, pixels.width, pixels.height, room));
      return Array.from(engine.HEAPF32.subarray(room >> 2, (room >> 2) + classCount));
    }));
  },

  save() {
    must(engine._page_save(0, 0, sizePlace));
    const size = engine.HEAPU32[sizePlace >> 2];
    return withBytes(new Uint8Array(size), (place) => {
      must(engine._page_save(place, size, sizePlace));
      return engine.HEAPU8.slice(place, place + size);
    });
  },
};

let before = Promise.resolve();
onmessage = ({data}) => {
  if (data.what === 'stop') {
    stopping = true;
    return;
  }
  before = before.then(async () => {
    try {
      postMessage({id: data.id, answer: await answers[data.what](data)});
    } catch (error) {
      const broken = error instanceof WebAssembly.RuntimeError;
      postMessage({
        id: data.id,
        error: broken ? `The engine has stopped (${error.message}). Save what you can and load this page again.` : error.message,
      });
    }
  });
};
