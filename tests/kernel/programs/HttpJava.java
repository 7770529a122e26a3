// SPDX-License-Identifier: Apache-2.0

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;

/** An HTTP server and client of Java's own library, for the kernel tests. See programs/README.md. */
class HttpJava {
	static void answer(HttpExchange exchange, int status, byte[] body) throws Exception {
		exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
		exchange.getResponseBody().write(body);
		exchange.close();
	}

	static void handle(HttpExchange exchange) {
		try {
			byte[] body = exchange.getRequestBody().readAllBytes();
			switch (exchange.getRequestURI().getPath()) {
				case "/hello" -> answer(exchange, 200, "hello\n".getBytes());
				case "/echo" -> answer(exchange, 200, body);
				default -> answer(exchange, 404, new byte[0]);
			}
		} catch (Exception error) {
			error.printStackTrace();
			System.exit(1);
		}
	}

	static void serve(int port) throws Exception {
		HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 64);
		server.createContext("/", HttpJava::handle);
		server.setExecutor(Executors.newFixedThreadPool(8));
		server.start();
	}

	static int ask(HttpClient client, String base, int n) throws Exception {
		var path = List.of("/hello", "/echo", "/missing").get(n % 3);
		var request = HttpRequest.newBuilder(URI.create(base + path)).version(HttpClient.Version.HTTP_1_1);
		if (n % 3 == 1) {
			request.POST(HttpRequest.BodyPublishers.ofByteArray(new byte[3000]));
		}
		return client.send(request.build(), BodyHandlers.ofByteArray()).statusCode();
	}

	static void load(String base, int workers, int each) throws Exception {
		var client = HttpClient.newHttpClient();
		var pool = Executors.newFixedThreadPool(workers);
		List<Future<TreeMap<Integer, Integer>>> running = new ArrayList<>();
		for (int worker = 0; worker < workers; worker++) {
			running.add(pool.submit((Callable<TreeMap<Integer, Integer>>) () -> {
				var counts = new TreeMap<Integer, Integer>();
				for (int n = 0; n < each; n++) {
					counts.merge(ask(client, base, n), 1, Integer::sum);
				}
				return counts;
			}));
		}
		var total = new TreeMap<Integer, Integer>();
		for (var one : running) {
			one.get().forEach((status, count) -> total.merge(status, count, Integer::sum));
		}
		System.out.println(total.entrySet().stream()
				.map(entry -> "\"" + entry.getKey() + "\": " + entry.getValue())
				.collect(Collectors.joining(", ", "{", "}")));
		System.exit(0);
	}

	public static void main(String[] arguments) throws Exception {
		if (arguments[0].equals("server")) {
			serve(Integer.parseInt(arguments[1]));
		} else {
			load(arguments[1], Integer.parseInt(arguments[2]), Integer.parseInt(arguments[3]));
		}
	}
}
