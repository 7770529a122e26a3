# SPDX-License-Identifier: Apache-2.0
"""What runs in a pod of the tests: a server at an address and a port, a client that makes a connection for each request."""

SERVE = """
import http.server, socketserver, sys, socket
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
class Server(socketserver.ThreadingTCPServer):  # HTTPServer asks the resolver for the name of its address
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
ASK = """
import http.client, sys
for _ in range(int(sys.argv[3])):
    c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
    c.request("GET", "/orders"); assert c.getresponse().read() == b"ok"; c.close()
"""
