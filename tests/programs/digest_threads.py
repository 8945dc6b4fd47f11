# SPDX-License-Identifier: MIT
"""Run by test_python.py: threads that fill, change and digest big bytearrays, and pass them on to each other.

hashlib, memoryview copies and readinto release the interpreter's lock, so that the threads really run side by side, and
the kernel writes into the memory, too. Prints a digest per buffer and round; they depend on the arguments only.
"""
import hashlib
import os
import sys
import threading

MIB = 1 << 20
BLOCK = 4 * MIB


def pattern(seed):
    return hashlib.shake_128(seed.encode()).digest(BLOCK)


def pass_through_pipe(data, start, length):
    """Write a part of the buffer into a pipe and read it back over itself: the kernel reads and writes our pages."""
    receive, send = os.pipe()
    view = memoryview(data)[start:start + length]

    def feed():
        sent = 0
        while sent < length:
            sent += os.write(send, view[sent:sent + MIB // 2])
        os.close(send)

    feeder = threading.Thread(target=feed)
    feeder.start()
    got = 0
    with os.fdopen(receive, "rb", buffering=0) as pipe:
        while got < length:
            # What was written is read back to the same place: nothing changes, if nothing goes wrong.
            got += pipe.readinto(view[got:got + MIB // 2])
    feeder.join()


class Worker(threading.Thread):
    def __init__(self, number, buffers, rounds, barrier, lines):
        super().__init__()
        self.number, self.buffers, self.rounds = number, buffers, rounds
        self.barrier, self.lines = barrier, lines
        self.error = None

    def work(self, round_number):
        # Every round a thread works on the next buffer: it finds what the thread before left there.
        index = (self.number + round_number) % len(self.buffers)
        data = self.buffers[index]
        before = hashlib.sha256(data).hexdigest()
        block = pattern(f"{index}/{round_number}")
        for start in range((round_number % 3) * BLOCK, len(data), 3 * BLOCK):
            data[start:start + BLOCK] = block
        pass_through_pipe(data, round_number * MIB, BLOCK)
        after = hashlib.blake2b(data, digest_size=16).hexdigest()
        self.lines.append(f"round {round_number} buffer {index}: {before} {after}")

    def run(self):
        try:
            for round_number in range(self.rounds):
                self.work(round_number)
                self.barrier.wait()
        except Exception as error:
            self.error = error
            self.barrier.abort()


def main():
    nr_threads, mib_each, rounds = (int(word) for word in sys.argv[1:4])
    buffers = [bytearray(mib_each * MIB) for _ in range(nr_threads)]
    for index, data in enumerate(buffers):
        block = pattern(f"first/{index}")
        for start in range(0, len(data), BLOCK):
            data[start:start + BLOCK] = block
    barrier, lines = threading.Barrier(nr_threads), []
    workers = [Worker(number, buffers, rounds, barrier, lines) for number in range(nr_threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("\n".join(sorted(lines)))
    return 1 if any(worker.error for worker in workers) else 0


if __name__ == "__main__":
    sys.exit(main())
