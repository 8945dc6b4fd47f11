// SPDX-License-Identifier: MIT
// Run by test_node.py: worker threads that share a buffer, objects that come and go, compression, digests, and the file
// system's own threads. Prints lines that depend on the arguments only.
"use strict";
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const crypto = require("crypto");
const fs = require("fs");
const path = require("path");
const zlib = require("zlib");

const MIB = 1 << 20;

function digest(data) {
	return crypto.createHash("sha256").update(data).digest("hex").slice(0, 24);
}

function fill(bytes, seed) {
	const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
	let x = seed | 1;
	for (let i = 0; i < words.length; i++) {
		x ^= x << 13;
		x ^= x >>> 17;
		x ^= x << 5;
		words[i] = x;
	}
}

// Strings and objects on the engine's own heap; most of them become garbage.
function objects(seed, count) {
	const map = new Map();
	for (let i = 0; i < count; i++) {
		const key = `key-${(i * 7919 + seed) % (count / 2)}`;
		map.set(key, { name: key + i, list: Array.from({ length: i % 40 }, (_, n) => n * i + seed) });
	}
	return digest(JSON.stringify([...map].sort((a, b) => (a[0] < b[0] ? -1 : 1))));
}

function work({ shared, number, nrThreads, mib, rounds, folder }) {
	const lines = [];
	const done = new Int32Array(shared, 0, nrThreads);
	for (let round = 0; round < rounds; round++) {
		// Each round a thread takes the next part, and finds what another left there.
		const part = (number + round) % nrThreads;
		const bytes = new Uint8Array(shared, MIB + part * mib * MIB, mib * MIB);
		const before = digest(bytes);
		fill(bytes, part * 1000 + round + 1);
		const packed = zlib.deflateSync(bytes.subarray(0, MIB / 2), { level: 1 });
		const same = Buffer.compare(zlib.inflateSync(packed), Buffer.from(bytes.subarray(0, MIB / 2))) === 0;
		const copy = Buffer.from(bytes);
		const file = path.join(folder, `part-${part}`);
		fs.writeFileSync(file, copy);
		const back = digest(fs.readFileSync(file)) === digest(bytes);
		lines.push(`round ${round} part ${part}: ${before} ${digest(copy)} ${same} ${back} ${objects(part + round, 20000)}`);
		Atomics.add(done, number, 1);
		Atomics.notify(done, number);
		for (let other = 0; other < nrThreads; other++)
			for (let seen = Atomics.load(done, other); seen <= round; seen = Atomics.load(done, other))
				Atomics.wait(done, other, seen);
	}
	return lines;
}

if (isMainThread) {
	const [nrThreads, mib, rounds] = process.argv.slice(2, 5).map(Number);
	const folder = process.argv[5];
	const shared = new SharedArrayBuffer(MIB + nrThreads * mib * MIB);
	const all = [];
	let running = nrThreads;
	for (let number = 0; number < nrThreads; number++) {
		const worker = new Worker(__filename, { workerData: { shared, number, nrThreads, mib, rounds, folder } });
		worker.on("message", (lines) => all.push(...lines));
		worker.on("error", (error) => {
			console.error(error);
			process.exitCode = 1;
		});
		worker.on("exit", () => {
			if (--running === 0)
				console.log(all.sort().join("\n"));
		});
	}
} else {
	parentPort.postMessage(work(workerData));
}
