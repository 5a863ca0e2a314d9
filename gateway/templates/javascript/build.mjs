// Makes build/component.wasm. `octohooks plugin build` runs it, with the contract's folder and the world.
import { componentize } from '@bytecodealliance/componentize-js';
import { mkdir, readFile, writeFile } from 'node:fs/promises';

const { component } = await componentize(await readFile('plugin.js', 'utf8'), {
  sourceName: 'plugin.js',
  witPath: process.argv[2] ?? 'wit',
  worldName: process.argv[3] ?? 'transform',
  // A plugin has no clock, network or output of its own, only what the contract gives it.
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await mkdir('build', { recursive: true });
await writeFile('build/component.wasm', component);
