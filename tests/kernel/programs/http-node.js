// SPDX-License-Identifier: Apache-2.0

// An HTTP server and client of Node's own library, for the kernel tests. See programs/README.md.
"use strict";
const http = require("node:http");

function serve(port) {
	const server = http.createServer((request, response) => {
		if (request.url === "/hello") response.end("hello\n");
		else if (request.url === "/echo") request.pipe(response);
		else response.writeHead(404).end();
	});
	server.listen(port, "127.0.0.1");
}

function ask(agent, base, n) {
	const [path, method] = [["/hello", "GET"], ["/echo", "POST"], ["/missing", "GET"]][n % 3];
	return new Promise((resolve, reject) => {
		const request = http.request(base + path, { agent, method }, (response) => {
			response.resume();
			response.on("end", () => resolve(response.statusCode));
		});
		request.on("error", reject);
		request.end(method === "POST" ? Buffer.alloc(3000) : undefined);
	});
}

async function load(base, workers, each) {
	const agent = new http.Agent({ keepAlive: true, maxSockets: workers });
	const counts = {};
	await Promise.all(
		Array.from({ length: workers }, async () => {
			for (let n = 0; n < each; n++) {
				const status = await ask(agent, base, n);
				counts[status] = (counts[status] ?? 0) + 1;
			}
		}),
	);
	console.log(JSON.stringify(counts));
	agent.destroy();
}

const [role, where, workers, each] = process.argv.slice(2);
if (role === "server") serve(Number(where));
else load(where, Number(workers), Number(each));
