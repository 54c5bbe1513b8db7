"""What an agent's code does to become the operator. Prints one line, `result: FOUND (over)`.

    attacker.py [escaped] console SOCKET          attaches to a console
    attacker.py [escaped] http PORT PATH TOKEN    calls a listener with a token
    attacker.py trace PID                         attaches to a process as a debugger
    attacker.py [escaped] page PORT TOKEN SECRET CONSOLE STORE
                                                  signs in at the page and follows it, with what it has found or guessed; asks the console
                                                  for a link; reads the store

`escaped` first leaves the family of the process that started it: its parents end, its environment is empty, and it has a
session of its own.
"""
import ctypes
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request


def console(path):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(60)
    try:
        # Some walls allow no such socket at all.
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        peer.sendall(b'{"type":"hello"}\n')
        answer = peer.makefile().readline()
        return "let in" if '"hello"' in answer else "turned away"
    except OSError as error:
        return f"turned away ({error})"


def http(port, path, token):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": token})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return f"status {opener.open(request, timeout=60).status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
    except OSError as error:
        return f"turned away ({error})"


def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    attached = libc.ptrace(16, int(pid), None, None) == 0  # PTRACE_ATTACH
    if attached:
        os.waitpid(int(pid), 0)
        libc.ptrace(17, int(pid), None, None)  # PTRACE_DETACH
    return "let in" if attached else "turned away"


def call_page(port, path, body=None, headers={}, proxies={}):
    """The status of an answer of the page, asked as its own script asks."""
    ours = f"http://127.0.0.1:{port}"
    body = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ours + path, body, {"Origin": ours, "Content-Type": "application/json", **headers})
    opener = urllib.request.build_opener(*([] if proxies is None else [urllib.request.ProxyHandler(proxies)]))
    try:
        return str(opener.open(request, timeout=60).status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError:
        return "nobody"


def follow_page(port, secret):
    """Opens /live with a session's secret and answers question 1."""
    try:
        peer = socket.create_connection(("127.0.0.1", int(port)), timeout=60)
    except OSError:
        return "nobody"
    peer.sendall(
        f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    answer = peer.makefile("rb")
    status = answer.readline().split(b" ")[1].decode()
    if status != "101":
        return status
    while answer.readline().strip():
        pass
    for said in ({"type": "hello", "secret": secret, "after": None},
                 {"type": "choose", "ticket": 1, "room": "web:team", "message": None, "key": "q:1:yes"}):
        text = json.dumps(said).encode()
        # A masked text frame, whose mask is zero.
        peer.sendall(bytes([0x81, 0xFE]) + len(text).to_bytes(2, "big") + bytes(4) + text)
    head = answer.read(2)
    if len(head) < 2:
        return "closed"
    length = int.from_bytes(answer.read(2), "big") if head[1] & 0x7F == 126 else head[1] & 0x7F
    return "bye" if b'"bye"' in answer.read(length) else "let in"


def ask_console(path):
    try:
        # Behind some walls there is no such socket.
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(60)
        peer.connect(path)
        peer.sendall(b'{"type":"hello"}\n{"type":"say","ticket":1,"text":"web"}\n')
        for line in peer.makefile():
            if "#l=" in line:
                return "a link"
        return "nothing"
    except OSError:
        return "nothing"


def page(port, token, secret, console, store):
    guesses = [{"code": f"BCDF-GHJ{letter}"} for letter in "BCDFGHJKLMNPQRSTVWXZ"]
    guesses += [{"token": f"{number:064x}"} for number in range(20)]
    try:
        with open(store, "rb") as file:
            read = "bytes" if file.read(16) else "nothing"
    except OSError:
        read = "nothing"
    found = {
        "page": call_page(port, "/"),
        "by proxy": call_page(port, "/api/board", proxies=None),
        "board": call_page(port, "/api/board", headers={"Authorization": "Bearer " + "0" * 64}),
        "guesses": "+".join(sorted({call_page(port, "/login", guess) for guess in guesses})),
        "link": call_page(port, "/login", {"token": token}),
        "live": follow_page(port, secret),
        "console": ask_console(console),
        "store": read,
    }
    return ", ".join(f"{what} {answer}" for what, answer in found.items())


def escape(arguments):
    """Runs this program again as an orphan, and prints what it found."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            parent = os.getppid()
            while os.getppid() == parent:
                time.sleep(0.01)
            os.dup2(write, 1)
            os.execve(sys.executable, [sys.executable, __file__, *arguments], {})
        time.sleep(0.1)
        os._exit(0)
    os.wait()
    os.close(write)
    print(os.fdopen(read).read(), end="")


if sys.argv[1] == "escaped":
    escape(sys.argv[2:])
else:
    act = {"console": console, "http": http, "trace": trace, "page": page}[sys.argv[1]]
    print("result:", act(*sys.argv[2:]), "(over)", flush=True)
