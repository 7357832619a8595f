// SPDX-License-Identifier: BSD-2-Clause
// Work for a JavaScript engine's compilers: code that gets hot, is optimised, and is thrown away again.
'use strict';

let sum = 0;
const add = (value) => { sum = (Math.imul(sum, 31) + (value | 0)) | 0; };

// Functions made at run time: new code each time.
for (let n = 0; n < 60; n++) {
    const f = new Function('x', `let s = ${n}; for (let i = 0; i < 3000; i++) s = (s * ${n + 3} + i ^ x) | 0; return s;`);
    for (let i = 0; i < 5; i++)
        add(f(i));
}

// Types that change under optimised code.
const shapes = [(i) => ({ a: i, b: 1.5 }), (i) => ({ b: i, a: 2 }), (i) => ({ a: 'x' + i, b: null }), (i) => [i, i * 0.5]];
const read = (o) => String(o.a) + (o.b ?? o[1]);
for (let i = 0; i < 40000; i++)
    add(read(shapes[(i >> 10) & 3](i)).length);

// Numbers: typed arrays, doubles, big integers.
const cells = new Float64Array(4096).map((_, i) => i / 7);
for (let round = 0; round < 60; round++)
    for (let i = 1; i < cells.length; i++)
        cells[i] = Math.sqrt(cells[i - 1] * cells[i] + round) % 1000;
add(cells.reduce((a, b) => a + b) * 1000);
let big = 1n;
for (let i = 1n; i < 400n; i++)
    big *= i;
add(Number(big % 1000000007n));

// Exceptions, closures, strings, regular expressions, collections.
const table = new Map();
for (let i = 0; i < 30000; i++) {
    try {
        if (i % 7 === 0)
            throw new RangeError(`r${i % 100}`);
        table.set(`k${i % 997}`, (table.get(`k${i % 997}`) ?? 0) + i);
    } catch (e) {
        add(e.message.replace(/r(\d)/, (m, d) => d + d).length);
    }
}
add(JSON.stringify([...table]).length);
add([...table.values()].sort((a, b) => b - a)[3]);
console.log(sum);
