#!/usr/bin/python3
"""serve.py: how many pictures a second `vitrine serve` answers, and how long each waits.

    bench/serve.py VITRINE [ROUNDS]        # 7, of two seconds for each row

Learns eight tasks of the built-in backbone (VPT-deep with 10 prompts, one epoch of 60 pictures), serves them, and lets 1, 4 and 16
clients ask in turn, each as fast as it gets answers: one task alone, and all eight mixed. Clients are threads of a process of
Python's, on the same machine. Prints the middles of all rounds.
"""
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "serve"))
import client  # noqa: E402

TASKS = 8


def ask(port, task, body):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /tasks/%s/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" %
                           (task.encode(), len(body)) + body)
        got = b""
        while piece := connection.recv(65536):
            got += piece
    return got.startswith(b"HTTP/1.1 200")


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(port, pid, clients, tasks, body, seconds):
    times, failed, lock, end = [], [], threading.Lock(), time.monotonic() + seconds

    def one(number):
        own, i = [], number
        while time.monotonic() < end:
            begin = time.perf_counter()
            if ask(port, tasks[i % len(tasks)], body):
                own.append(time.perf_counter() - begin)
            else:
                failed.append(1)
            i += 1
        with lock:
            times.extend(own)
    before, processor = client.metrics(port), processor_seconds(pid)
    everyone = [threading.Thread(target=one, args=(i,)) for i in range(clients)]
    begin = time.perf_counter()
    for thread in everyone:
        thread.start()
    for thread in everyone:
        thread.join()
    took, processor = time.perf_counter() - begin, processor_seconds(pid) - processor
    after = client.metrics(port)
    pictures = after["vitrine_pictures_total"] - before["vitrine_pictures_total"]
    batches = after["vitrine_batches_total"] - before["vitrine_batches_total"]
    times.sort()
    assert not failed and len(times) == pictures
    return {"a second": len(times) / took, "middle": 1e3 * statistics.median(times), "most": 1e3 * times[int(0.95 * len(times))],
            "batch": pictures / batches, "processor": 1e3 * processor / pictures}


def main():
    program, rounds = str(pathlib.Path(sys.argv[1]).resolve()), int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "tasks").mkdir()
        for i in range(TASKS):
            subprocess.run([program, "tune", "--data", "synthetic:stripes", "--train-limit", "60", "--epochs", "1", "--batch", "16",
                            "--no-test", "--seed", str(i), "--out", str(place / f"run{i}")], check=True, capture_output=True)
            (place / f"run{i}" / "task.safetensors").rename(place / "tasks" / f"task{i}.safetensors")
        server = subprocess.Popen([program, "serve", "--tasks", "tasks", "--port", "0"], cwd=place, text=True,
                                  stdout=subprocess.PIPE)
        for line in server.stdout:
            if line.startswith("Listens"):
                port = int(line.rsplit(":", 1)[1])
                break
        body = client.png(64, lambda x, y: (3 * x + 5 * y) % 256)
        tasks = [f"task{i}" for i in range(TASKS)]
        measure(port, server.pid, 4, tasks, body, 0.5)  # packs weights
        rows = [(clients, some) for clients in (1, 4, 16) for some in (tasks[:1], tasks)]
        found = [[] for _ in rows]
        for _ in range(rounds):
            for i, (clients, some) in enumerate(rows):
                found[i].append(measure(port, server.pid, clients, some, body, 2))
        print("| clients | tasks | answers a second (least to most) | middle answer, ms | 95 %, ms | pictures in a batch | processor, ms a picture |")
        print("|---|---|---|---|---|---|---|")
        for (clients, some), all_of in zip(rows, found):
            def middle(name):
                return statistics.median(each[name] for each in all_of)
            rates = [each["a second"] for each in all_of]
            print(f"| {clients} | {len(some)} | {middle('a second'):.0f} ({min(rates):.0f} to {max(rates):.0f}) | {middle('middle'):.1f} | "
                  f"{middle('most'):.1f} | {middle('batch'):.1f} | {middle('processor'):.2f} |", flush=True)
        server.terminate()
        server.communicate()


if __name__ == "__main__":
    main()
