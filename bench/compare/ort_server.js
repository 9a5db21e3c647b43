// The other half of bench/compare: ONNX Runtime behind the same pipe protocol as compare_server.cpp.
// Usage: node ort_server.js MODULES_DIR MODEL.onnx INPUT.f32 THREADS BATCH; run with the packages of MODULES_DIR.
'use strict';
const fs = require('fs');
const path = require('path');
const readline = require('readline');

const [modules, modelPath, inputPath, threads, batch] = process.argv.slice(2);
const ort = require(path.join(modules, 'onnxruntime-node'));

async function main() {
  // ORT's own defaults otherwise (its idle threads spin, which is what makes it fast); sequential is the default too.
  const session = await ort.InferenceSession.create(modelPath, {
    intraOpNumThreads: Number(threads),
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
  });
  const bytes = fs.readFileSync(inputPath);
  const one = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const side = Math.round(Math.sqrt(one.length / 3));
  const pixels = new Float32Array(one.length * Number(batch));
  for (let i = 0; i < Number(batch); ++i) pixels.set(one, i * one.length);
  const feeds = {pixels: new ort.Tensor('float32', pixels, [Number(batch), 3, side, side])};
  let last = null;
  for await (const line of readline.createInterface({input: process.stdin})) {
    const [verb, argument] = line.split(' ');
    let answer = '';
    if (verb === 'run' || verb === 'cpu') {
      const times = [];
      for (let i = 0; i < Number(argument); ++i) {
        const begin = process.hrtime.bigint();
        const cpu = process.cpuUsage();
        const out = await session.run(feeds);
        const wall = Number(process.hrtime.bigint() - begin) * 1e-6;
        const used = process.cpuUsage(cpu);
        times.push(verb === 'run' ? wall : (used.user + used.system) * 1e-3);
        last = out.logits.data;
      }
      answer = times.map((t) => t.toFixed(4)).join(' ');
    } else if (verb === 'output') {
      fs.writeFileSync(argument, Buffer.from(last.buffer, last.byteOffset, last.byteLength));
      answer = String(last.length);
    } else if (verb === 'rss') {
      const status = fs.readFileSync('/proc/self/status', 'utf8');
      answer = (Number(/VmHWM:\s*(\d+)/.exec(status)[1]) / 1024).toFixed(1);
    } else if (verb === 'plan') {
      answer = 'onnxruntime ' + require(path.join(modules, 'onnxruntime-node', 'package.json')).version;
    } else {
      throw new Error('unknown command ' + line);
    }
    process.stdout.write(answer + '\n');
  }
}

main().catch((e) => {
  console.error('ort_server: ' + (e.message || e));
  process.exit(1);
});
