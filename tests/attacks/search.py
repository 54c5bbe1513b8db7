"""Searches everything that a process can read here for the model's key, which this text must not contain itself."""
import os

needle = b"m4rked" + b"-5ecret-key"
found = []


def note(where):
    found.append(where)


def search_memory(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, access = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if "r" not in access or end - start > 8 << 30:
                continue
            at, before = start, b""
            while at < end:
                try:
                    memory.seek(at)
                    piece = memory.read(min(1 << 22, end - at))
                except (OSError, OverflowError, ValueError):
                    break
                if not piece:
                    break
                if needle in before + piece:
                    note(f"the memory of {pid} at {line.strip()}")
                    break
                before, at = piece[-len(needle):], at + len(piece)


searched = 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) == os.getpid():
        continue
    for name in ("environ", "cmdline"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if needle in file.read():
                    note(f"{name} of {pid}")
        except OSError:
            pass
    try:
        search_memory(pid)
        searched += 1
    except OSError:
        pass
if needle in b"\0".join(b"%b=%b" % pair for pair in os.environb.items()):
    note("the environment")
files = 0
for top in {os.environ.get("HOME", "/root"), os.environ.get("CLAUDE_CONFIG_DIR", "/root/.claude"), "/run", "/tmp", "/var/tmp", "."}:
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name not in (".cargo", ".rustup", ".npm", "target", "node_modules")]
        for name in names:
            path = os.path.join(folder, name)
            try:
                if not os.path.isfile(path) or os.path.getsize(path) > 64 << 20:
                    continue
                with open(path, "rb") as file:
                    files += 1
                    if needle in file.read():
                        note(path)
            except OSError:
                pass
print("FOUND " + "; ".join(found) if found else f"not found in {'several' if searched else 'no'} processes and {'several' if files else 'no'} files")
