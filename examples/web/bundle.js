// bundle.js: makes one page of its parts, for node:  bundle.js SOURCES BUILT WEIGHTS OUT
//
// The engine and the weights go in as gzip in base64. Scripts and style are named by their hashes in the page's policy, which
// allows nothing else: no other script, and no request to any network.
'use strict';
const {createHash} = require('crypto');
const {readFileSync, writeFileSync} = require('fs');
const {join} = require('path');
const {gzipSync} = require('zlib');

const [sources, built, weights, out] = process.argv.slice(2);
const text = (name) => readFileSync(join(sources, name), 'utf8');
const packed = (path) => gzipSync(readFileSync(path), {level: 9}).toString('base64');
const hash = (words) => `'sha256-${createHash('sha256').update(words).digest('base64')}'`;
const inside = (words) => {  // of a <script>
  if (/<\/script|<!--/i.test(words)) throw new Error('a script would end too early');
  return words;
};

const style = text('style.css');
const page = inside(text('chart.js') + text('page.js'));
const worker = inside(readFileSync(join(built, 'page.js'), 'utf8') + text('worker.js'));
const policy = [
  "default-src 'none'", `script-src ${hash(page)} 'wasm-unsafe-eval'`, `style-src ${hash(style)}`, 'worker-src blob:',
  'img-src blob: data:', "base-uri 'none'", "form-action 'none'",
].join('; ');
const parts = {
  policy: `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
  style: `<style>${style}</style>`,
  scripts: `<script type="text/plain" id="worker">${worker}</script>
<script type="text/plain" id="engine">${packed(join(built, 'page.wasm'))}</script>
<script type="text/plain" id="weights">${packed(weights)}</script>
<script>${page}</script>`,
};
writeFileSync(out, text('index.html').replace(/<!-- here: (\w+) -->/g, (all, name) => parts[name]));
